// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../clock.ts';
import { systemClock } from '../clock.ts';
import type { AttributeValue } from '../profile/attribute-table.ts';
import { Profile, type ValueType } from '../profile/profile.ts';
import { mergeProfile } from './merge-profile.ts';

export interface RecentProfilesOptions {
  /** How far back: ms. */
  readonly windowMs: number;
  /** Nodes of the stack trees of all slots together, about 30 bytes each; beyond it samples are left out and counted. */
  readonly maxStacks?: number;
  readonly clock?: Clock;
}

export interface Selection {
  /** From so many ms ago until now. */
  readonly sinceMs: number;
  readonly select?: (resource: ReadonlyMap<string, AttributeValue>) => boolean;
}

/** The window is kept in so many slots; a slot is forgotten as a whole. */
const SLOTS = 10;

interface Slot {
  readonly number: number;
  readonly profile: Profile;
  /** Samples left out for want of room. */
  leftOut: number;
}

/** The profiles of the last minutes, joined into a few slots of time so that memory stays bounded. */
export class RecentProfiles {
  readonly windowMs: number;
  readonly #clock: Clock;
  readonly #slotMs: number;
  readonly #maxStacksOfSlot: number;
  #slots: Slot[] = [];
  #periodNano = 0;

  constructor({ windowMs, maxStacks = 1_000_000, clock = systemClock }: RecentProfilesOptions) {
    this.windowMs = windowMs;
    this.#clock = clock;
    this.#slotMs = Math.max(1, windowMs / SLOTS);
    this.#maxStacksOfSlot = Math.ceil(maxStacks / SLOTS);
  }

  /** Remembers the samples of a closed profile. The profile itself is not kept. */
  add(profile: Profile): void {
    this.#forget();
    const slot = this.#slotOf(Number(profile.startUnixNano) / 1e6, profile.sampleType);
    slot.leftOut += mergeProfile(profile, slot.profile, { maxStacks: this.#maxStacksOfSlot });
    slot.profile.durationNano += profile.durationNano;
    this.#periodNano = profile.periodNano;
  }

  /** The samples since some time ago as one profile; slots that have begun before are taken whole. */
  since({ sinceMs, select }: Selection): Profile {
    this.#forget();
    const from = this.#clock.wallMs() - sinceMs;
    const chosen = this.#slots.filter(({ number }) => (number + 1) * this.#slotMs > from);
    const profile = new Profile({
      startUnixNano: chosen[0]?.profile.startUnixNano ?? BigInt(Math.round(from * 1e6)),
      periodNano: this.#periodNano,
      sampleType: chosen[0]?.profile.sampleType,
    });
    for (const slot of chosen) {
      mergeProfile(slot.profile, profile, { select });
      profile.durationNano += slot.profile.durationNano;
    }
    return profile;
  }

  /** Samples of the window that were left out for want of room. */
  get leftOut(): number {
    return this.#slots.reduce((sum, slot) => sum + slot.leftOut, 0);
  }

  #slotOf(startMs: number, sampleType: ValueType): Slot {
    const number = Math.floor(startMs / this.#slotMs);
    let slot = this.#slots.find((candidate) => candidate.number === number);
    if (slot === undefined) {
      const startUnixNano = BigInt(Math.round(number * this.#slotMs * 1e6));
      slot = { number, profile: new Profile({ startUnixNano, sampleType }), leftOut: 0 };
      this.#slots.push(slot);
      this.#slots.sort((a, b) => a.number - b.number);
    }
    return slot;
  }

  #forget(): void {
    const oldest = Math.floor((this.#clock.wallMs() - this.windowMs) / this.#slotMs);
    if (this.#slots.length > 0 && this.#slots[0].number < oldest) {
      this.#slots = this.#slots.filter(({ number }) => number >= oldest);
    }
  }
}
