// SPDX-License-Identifier: Apache-2.0
import { withRoom } from './columns.ts';
import { type FrameHandle, NO_FRAME } from './frame-table.ts';
import { finish, HandleIndex, mix } from './handle-index.ts';

declare const brand: unique symbol;
/** Number of a stack in a StackTable; 0 is the empty stack. */
export type StackHandle = number & { readonly [brand]: 'stack' };

export const EMPTY_STACK = 0 as StackHandle;

/**
 * Stacks as pairs (parent stack, frame called from it): all stacks of a profile form one tree, and a stack is a node.
 *
 *     handle  parent  frame           stack, root first
 *     0       -       -               (empty)
 *     1       0       main            main
 *     2       1       parse           main → parse
 *     3       2       parse           main → parse → parse
 *     4       1       print           main → print
 *
 * A million samples with a common outer part share it, and equal stacks have equal handles.
 */
export class StackTable {
  #parents = new Uint32Array(256);
  #frames = new Uint32Array(256);
  #depths = new Uint32Array(256);
  readonly #index = new HandleIndex(1);

  /** Stacks, the empty one included. */
  get count(): number {
    return this.#index.count;
  }

  /** The stack in which `frame` was called from the innermost frame of `parent`, if there is such a one already. */
  find(parent: StackHandle, frame: FrameHandle): StackHandle | undefined {
    let slot = this.#index.first(finish(mix(mix(0, parent), frame)));
    for (let row = this.#index.at(slot); row >= 0; slot = this.#index.next(slot), row = this.#index.at(slot)) {
      if (this.#parents[row] === parent && this.#frames[row] === frame) return row as StackHandle;
    }
    return undefined;
  }

  /** The stack in which `frame` was called from the innermost frame of `parent`. */
  intern(parent: StackHandle, frame: FrameHandle): StackHandle {
    const hash = finish(mix(mix(0, parent), frame));
    let slot = this.#index.first(hash);
    for (let row = this.#index.at(slot); row >= 0; slot = this.#index.next(slot), row = this.#index.at(slot)) {
      if (this.#parents[row] === parent && this.#frames[row] === frame) return row as StackHandle;
    }
    const row = this.#index.insert(slot, hash);
    this.#parents = withRoom(this.#parents, row);
    this.#frames = withRoom(this.#frames, row);
    this.#depths = withRoom(this.#depths, row);
    this.#parents[row] = parent;
    this.#frames[row] = frame;
    this.#depths[row] = this.#depths[parent] + 1;
    return row as StackHandle;
  }

  /** The stack of the given frames, innermost first (the order in which a walk finds them). */
  internLeafFirst(frames: ArrayLike<FrameHandle>): StackHandle {
    let stack = EMPTY_STACK;
    for (let i = frames.length - 1; i >= 0; i--) stack = this.intern(stack, frames[i]);
    return stack;
  }

  /** The stack without its innermost frame. A parent's handle is always below its child's. */
  parent(handle: StackHandle): StackHandle {
    return this.#parents[handle] as StackHandle;
  }

  /** The innermost frame; NO_FRAME for the empty stack. */
  frame(handle: StackHandle): FrameHandle {
    return (handle === EMPTY_STACK ? NO_FRAME : this.#frames[handle]) as FrameHandle;
  }

  /** Number of frames (inlined ones not counted). */
  depth(handle: StackHandle): number {
    return this.#depths[handle];
  }

  /**
   * By stack handle, its place in depth-first order of the tree: sorted by it, stacks with a common outer part are
   * neighbours.
   */
  treeOrder(): Uint32Array {
    const { count } = this;
    const firstChild = new Uint32Array(count);
    const nextSibling = new Uint32Array(count);
    for (let row = count - 1; row > 0; row--) {
      nextSibling[row] = firstChild[this.#parents[row]];
      firstChild[this.#parents[row]] = row;
    }
    const order = new Uint32Array(count);
    let place = 0;
    // A child before its next sibling; 0, the empty stack, is nobody's child or sibling.
    const pending: number[] = [EMPTY_STACK];
    for (let row = pending.pop(); row !== undefined; row = pending.pop()) {
      order[row] = place++;
      if (nextSibling[row] !== 0) pending.push(nextSibling[row]);
      if (firstChild[row] !== 0) pending.push(firstChild[row]);
    }
    return order;
  }

  /** The frames of a stack, innermost first. */
  leafFirst(handle: StackHandle): FrameHandle[] {
    const frames = new Array<FrameHandle>(this.#depths[handle]);
    let stack: number = handle;
    for (let i = 0; i < frames.length; i++) {
      frames[i] = this.#frames[stack] as FrameHandle;
      stack = this.#parents[stack];
    }
    return frames;
  }
}
