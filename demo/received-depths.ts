// SPDX-License-Identifier: Apache-2.0
/** Reads OTLP profiles as a receiver gets them, for how deep each program's stacks are. Layout: opentelemetry-proto 1.11. */
import { protobufFields } from '../packages/agent/src/export/protobuf-reader.ts';

export interface ReceivedStack {
  /** process.executable.name */
  readonly program: string;
  readonly pid: number;
  /** User frames; the frame that marks a truncated stack does not count. */
  readonly depth: number;
  readonly outcome: string;
  readonly reason: string;
  readonly count: number;
}

type Message = Uint8Array;

function all(message: Message, field: number): Message[] {
  return [...protobufFields(message)].filter(({ number }) => number === field).map(({ bytes }) => bytes);
}

function first(message: Message, field: number): Message {
  return all(message, field)[0] ?? new Uint8Array(0);
}

function integer(message: Message, field: number): number {
  return Number([...protobufFields(message)].find(({ number }) => number === field)?.value ?? 0n);
}

/** A packed field of varints. */
function integers(message: Message, field: number): number[] {
  const values: number[] = [];
  for (const bytes of all(message, field)) {
    let value = 0;
    let scale = 1;
    for (const byte of bytes) {
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) {
        values.push(value);
        value = 0;
        scale = 1;
      }
    }
  }
  return values;
}

const text = (bytes: Message) => new TextDecoder().decode(bytes);

/** AnyValue: a string, or an integer as text. */
function anyValue(value: Message): string {
  for (const { number, bytes, value: whole } of protobufFields(value)) {
    if (number === 1) return text(bytes);
    if (number === 3) return `${whole}`;
  }
  return '';
}

/** The stacks of an ExportProfilesServiceRequest. */
export function receivedStacks(request: Message): ReceivedStack[] {
  const dictionary = first(request, 2);
  const strings = all(dictionary, 5).map(text);
  const attributes = all(dictionary, 6).map(
    (entry) => [strings[integer(entry, 1)], anyValue(first(entry, 2))] as const,
  );
  const isUser = all(dictionary, 2).map((location) => {
    const type = integers(location, 4)
      .map((index) => attributes[index])
      .find(([key]) => key === 'profile.frame.type')?.[1];
    // Only the kernel's frames and the mark have another type or none.
    return type !== undefined && type !== 'kernel';
  });
  const depths = all(dictionary, 7).map((stack) => integers(stack, 1).filter((location) => isUser[location]).length);
  const stacks: ReceivedStack[] = [];
  for (const resourceProfiles of all(request, 1)) {
    const resource = new Map(
      all(first(resourceProfiles, 1), 1).map((entry) => [text(first(entry, 1)), anyValue(first(entry, 2))]),
    );
    for (const scope of all(resourceProfiles, 2))
      for (const profile of all(scope, 2))
        for (const sample of all(profile, 2)) {
          const of = new Map(integers(sample, 2).map((index) => attributes[index]));
          stacks.push({
            program: resource.get('process.executable.name') ?? '',
            pid: Number(resource.get('process.pid') ?? 0),
            depth: depths[integer(sample, 1)] ?? 0,
            outcome: of.get('plumbline.stack.outcome') ?? '',
            reason: of.get('plumbline.stack.truncation.reason') ?? '',
            count: integers(sample, 4).reduce((sum, value) => sum + value, 0),
          });
        }
  }
  return stacks;
}
