// SPDX-License-Identifier: Apache-2.0
/** Everything about one policy at this moment: its nodes, where each stands, and what keeps it from being used. */
import { parseDuration } from '@plumbline/api';
import type { Clock } from '@plumbline/kube';
import type { AgentActivity } from './agent-activity.ts';
import type { Fleet } from './fleet.ts';
import type { CompiledPolicy } from './merge/rule.ts';
import type { PolicyState } from './policy-state.ts';
import { nodeState } from './rollout/node-state.ts';
import type { RolloutNode } from './rollout/rollout.ts';
import type { PolicyNode } from './status/summarize.ts';
import type { NodeView, Trouble } from './views.ts';

export interface Observation {
  /** In release order. */
  targets: readonly NodeView[];
  /** The same, with their states. `claim` changes the free slots of other policies. */
  nodes: readonly (RolloutNode & PolicyNode)[];
  compiled: CompiledPolicy | undefined;
  problem: Trouble | undefined;
  /** Names of nodes for which slots of all other policies were claimed. */
  claimed: ReadonlySet<string>;
}

export class PolicyObserver {
  readonly #fleet: Fleet;
  readonly #agents: AgentActivity;
  readonly #clock: Clock;

  constructor(fleet: Fleet, agents: AgentActivity, clock: Clock) {
    this.#fleet = fleet;
    this.#agents = agents;
    this.#clock = clock;
  }

  observe(state: PolicyState): Observation {
    const targets = this.#fleet.targets(state);
    const compiled = state.current && this.#fleet.compiled(state.current);
    const progressDeadlineMs = parseDuration(state.current?.spec.rollout.progressDeadline ?? '10m');
    const claimed = new Set<string>();
    const nodes = targets.map((node) => this.#look(state, node, progressDeadlineMs, claimed));
    return { targets, nodes, compiled, problem: state.problem ?? compiled?.problem, claimed };
  }

  /** An agent is there to answer. */
  isReporting(node: NodeView): boolean {
    return node.ready && this.#agents.isAlive(node.name);
  }

  #look(
    state: PolicyState,
    node: NodeView,
    progressDeadlineMs: number,
    claimed: Set<string>,
  ): RolloutNode & PolicyNode {
    const { current, rollout, released, view } = state;
    const config = this.#fleet.configs.get(node.name);
    const reporting = this.isReporting(node);
    const rolledBack = rollout?.phase === 'RolledBack' && rollout.revision === current?.revision;
    const seen = nodeState({
      policyUid: view.uid,
      revision: current?.revision ?? '',
      node,
      config,
      release: rolledBack ? undefined : released.get(node.name),
      expected: this.#fleet.desired(node).uids.has(view.uid),
      configuredAt: this.#agents.configuredAt(node.name),
      reporting,
      now: this.#clock.now(),
      progressDeadlineMs,
    });
    const claim = () => this.#claim(state, node, claimed);
    return { name: node.name, state: seen, config, reporting, claim };
  }

  #claim(state: PolicyState, node: NodeView, claimed: Set<string>): boolean {
    const companions = this.#fleet.companions(state, node);
    if (!companions.every(({ freeSlots }) => freeSlots > 0)) return false;
    for (const companion of companions) companion.freeSlots -= 1;
    claimed.add(node.name);
    return true;
  }
}
