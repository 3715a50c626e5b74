// SPDX-License-Identifier: Apache-2.0
import { AgentError } from '../errors.ts';

/**
 * - `live`: a failure means that only a restart helps
 * - `ready`: a failure means that the node is not profiled as it should be
 * - `notice`: shown with the others, decides nothing
 */
export type HealthKind = 'live' | 'ready' | 'notice';

export interface HealthProblem {
  /** Name of the check. */
  readonly check: string;
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

/** What the parts of the agent say of their own state; asked anew each time. */
export class Health {
  readonly #checks: { kind: HealthKind; name: string; look: () => AgentError | undefined }[] = [];

  /** @param look undefined: all is well; it must not block. What it throws is a problem too. */
  check(kind: HealthKind, name: string, look: () => AgentError | undefined): void {
    this.#checks.push({ kind, name, look });
  }

  problems(kind: HealthKind): HealthProblem[] {
    return this.#checks.flatMap((check) => {
      if (check.kind !== kind) return [];
      let error: AgentError | undefined;
      try {
        error = check.look();
      } catch (thrown) {
        error = AgentError.from(thrown);
      }
      return error === undefined ? [] : [{ check: check.name, ...error.toJSON() }];
    });
  }
}
