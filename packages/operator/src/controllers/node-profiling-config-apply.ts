// SPDX-License-Identifier: Apache-2.0
/** nodeprofilingconfig.apply: every Linux node has one object with its merged configuration, and nobody else does. */
import { API_VERSION, MANAGED_BY_LABEL, NODE_PROFILING_CONFIG, OPERATOR_FIELD_MANAGER } from '@plumbline/api';
import {
  type EventRecorder,
  isNotFound,
  type KubeObject,
  type Resource,
  type WorkQueue,
  type WrittenObject,
} from '@plumbline/kube';
import type { Fleet } from '../fleet.ts';
import type { NodeConfigView, NodeView } from '../views.ts';
import type { Reconciler, Result } from './controller.ts';

export interface NodeConfigApplyOptions {
  fleet: Fleet;
  queue: WorkQueue;
  configs: Resource;
  events: EventRecorder;
  /** Of what the API server answers with. */
  view: (object: KubeObject) => NodeConfigView;
  workers: number;
}

export class NodeConfigApply implements Reconciler {
  readonly name = 'nodeprofilingconfig.apply';
  readonly queue: WorkQueue;
  readonly workers: number;
  readonly #options: NodeConfigApplyOptions;

  constructor(options: NodeConfigApplyOptions) {
    this.#options = options;
    this.queue = options.queue;
    this.workers = options.workers;
  }

  async reconcile(name: string): Promise<Result> {
    const { fleet } = this.#options;
    const node = fleet.nodes.get(name);
    const config = fleet.configs.get(name);
    if (!node?.linux) {
      if (config) await this.#delete(config);
      return {};
    }
    const { spec } = fleet.desired(node);
    const ours = config?.ownerUid === node.uid;
    if (config && ours && config.actualHash === spec.configHash && config.configHash === spec.configHash) return {};
    // The node was replaced by one of the same name: what its object says of kernel and agent is about another machine.
    if (config && !ours) await this.#delete(config);
    await this.#write(node, { ...this.#identity(node), spec }, spec.configHash);
    if (config && ours && config.configHash === spec.configHash) this.#announceDrift(config);
    return {};
  }

  async #delete({ name, uid }: NodeConfigView): Promise<void> {
    try {
      await this.#options.configs.delete(name, { uid });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  #identity({ name, uid }: NodeView) {
    return {
      apiVersion: API_VERSION,
      kind: NODE_PROFILING_CONFIG.kind,
      metadata: {
        name,
        labels: { [MANAGED_BY_LABEL]: 'plumbline' },
        ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name, uid }],
      },
    };
  }

  /** Server-side apply; where another manager added to the spec, which apply leaves alone, the spec is replaced. */
  async #write(node: NodeView, object: WrittenObject, hash: string): Promise<void> {
    const { configs, view } = this.#options;
    const applied = await configs.apply(object, { fieldManager: OPERATOR_FIELD_MANAGER });
    if (view(applied).actualHash === hash) return;
    const replaced = await configs.replace({ ...applied, ...object, metadata: applied.metadata });
    const { actualHash } = view(replaced);
    if (actualHash !== hash)
      throw new Error(`${node.name}: spec is ${actualHash} after writing ${hash}; is the CRD of another version?`);
  }

  #announceDrift({ name, uid }: NodeConfigView): void {
    this.#options.events.record({
      regarding: { apiVersion: API_VERSION, kind: NODE_PROFILING_CONFIG.kind, name, uid },
      type: 'Warning',
      reason: 'DriftCorrected',
      action: 'Apply',
      note: 'spec was changed by somebody else; wrote it again',
    });
  }
}
