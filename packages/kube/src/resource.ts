// SPDX-License-Identifier: Apache-2.0
import type { ApiRequest, Transport } from './transport.ts';

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
}

/** The metadata that controllers read. */
export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid: string;
  resourceVersion: string;
  generation?: number;
  creationTimestamp: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
}

/** Any object as the API server sends it. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
}

/** What a writer must say; the server adds the rest. */
export interface WrittenObject {
  apiVersion: string;
  kind: string;
  metadata: Partial<ObjectMeta> & { name: string };
  /** `spec`, `status`, or what else the kind has. */
  [field: string]: unknown;
}

export interface ApplyOptions {
  fieldManager: string;
  /** Take fields over from other managers. Default true: what a controller applies, it owns. */
  force?: boolean;
  subresource?: 'status';
  signal?: AbortSignal;
}

/** One collection of the API: `/apis/<group>/<version>[/namespaces/<namespace>]/<plural>`. */
export class Resource<T extends KubeObject = KubeObject> {
  readonly #transport: Transport;
  readonly path: string;

  constructor(transport: Transport, names: { group: string; version: string; plural: string; namespace?: string }) {
    const { group, version, plural, namespace } = names;
    const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
    this.#transport = transport;
    this.path = `${root}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${plural}`;
  }

  get(name: string, signal?: AbortSignal): Promise<T> {
    return this.#request({ method: 'GET', path: this.#pathOf(name), signal });
  }

  create(object: WrittenObject, signal?: AbortSignal): Promise<T> {
    return this.#request({ method: 'POST', path: this.path, body: object, signal });
  }

  /** Whole-object update, guarded by `metadata.resourceVersion`: a 409 says that somebody else was faster. */
  replace(object: WrittenObject, signal?: AbortSignal): Promise<T> {
    return this.#request({ method: 'PUT', path: this.#pathOf(object.metadata.name), body: object, signal });
  }

  /** Server-side apply: writes the given fields, keeps everybody else's. */
  apply(object: WrittenObject, { fieldManager, force = true, subresource, signal }: ApplyOptions): Promise<T> {
    return this.#request({
      method: 'PATCH',
      verb: 'APPLY',
      path: this.#pathOf(object.metadata.name, subresource),
      query: { fieldManager, force },
      contentType: 'application/apply-patch+yaml', // JSON is YAML
      body: object,
      idempotent: true,
      signal,
    });
  }

  /** RFC 7386 merge patch. */
  mergePatch(name: string, patch: object, signal?: AbortSignal): Promise<T> {
    const contentType = 'application/merge-patch+json';
    return this.#request({
      method: 'PATCH',
      path: this.#pathOf(name),
      contentType,
      body: patch,
      idempotent: true,
      signal,
    });
  }

  /** With `uid`, only that very object: a newer one of the same name is kept and the answer is 409. */
  delete(name: string, { uid, signal }: { uid?: string; signal?: AbortSignal } = {}): Promise<unknown> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', ...(uid !== undefined && { preconditions: { uid } }) };
    return this.#request({ method: 'DELETE', path: this.#pathOf(name), body, idempotent: true, signal });
  }

  #pathOf(name: string, subresource?: string): string {
    return `${this.path}/${encodeURIComponent(name)}${subresource === undefined ? '' : `/${subresource}`}`;
  }

  #request<R = T>(request: ApiRequest): Promise<R> {
    return this.#transport.request<R>(request);
  }
}
