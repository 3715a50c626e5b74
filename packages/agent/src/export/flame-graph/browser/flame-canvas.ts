// SPDX-License-Identifier: Apache-2.0
import { type FlameLayout, type FlameNode, firstEndingAfter, nodeAt } from './flame-layout.ts';
import { fillOf } from './palette.ts';

const ROW_HEIGHT = 20;
const FONT = '12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace';
const MIN_TEXT_WIDTH = 28;
/** Boxes narrower than this (CSS pixels) are not drawn; their row shows the background there. */
const MIN_BOX_WIDTH = 0.4;

export interface CanvasEvents {
  /** The box under the pointer or the keyboard cursor changed; `x`, `y` in the window where the pointer is. */
  onHover(node: FlameNode | undefined, x: number, y: number): void;
  onCursor(node: FlameNode): void;
  onZoom(node: FlameNode): void;
}

/**
 * Draws a layout on a canvas that covers the visible part of a scroller, however deep the stacks are. A click or Enter
 * zooms in on a box, Escape out again; the arrow keys move a cursor from box to box.
 */
export class FlameCanvas {
  readonly #scroller: HTMLElement;
  readonly #spacer: HTMLElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #events: CanvasEvents;
  #layout: FlameLayout | undefined;
  #zoomed: FlameNode | undefined;
  #cursor: FlameNode | undefined;
  #hovered: FlameNode | undefined;
  #matches: ((node: FlameNode) => boolean) | undefined;
  #isRootOnTop = true;
  #isScheduled = false;
  #hatch: CanvasPattern | null = null;

  /** @param scroller holds a spacer (as high as the graph) and in it the canvas (sticky, as high as the scroller). */
  constructor(scroller: HTMLElement, spacer: HTMLElement, canvas: HTMLCanvasElement, events: CanvasEvents) {
    this.#scroller = scroller;
    this.#spacer = spacer;
    this.#canvas = canvas;
    this.#events = events;
    scroller.addEventListener('scroll', () => this.#schedule());
    new ResizeObserver(() => this.#schedule()).observe(scroller);
    canvas.addEventListener('pointermove', (event) => this.#hover(this.#at(event), event));
    canvas.addEventListener('pointerleave', (event) => this.#hover(undefined, event));
    canvas.addEventListener('click', (event) => {
      const node = this.#at(event);
      if (node) this.zoom(node === this.#zoomed ? this.#layout!.root : node);
    });
    canvas.addEventListener('keydown', (event) => {
      if (this.#key(event.key)) event.preventDefault();
    });
    canvas.addEventListener('focus', () => this.#schedule());
    canvas.addEventListener('blur', () => this.#schedule());
  }

  show(layout: FlameLayout): void {
    this.#layout = layout;
    this.#cursor = undefined;
    this.#hovered = undefined;
    this.#spacer.style.height = `${layout.rows.length * ROW_HEIGHT}px`;
    this.zoom(layout.root);
  }

  zoom(node: FlameNode): void {
    this.#zoomed = node;
    this.#cursor = node;
    this.#scrollTo(node);
    this.#events.onZoom(node);
    this.#schedule();
  }

  /** Boxes that match keep their colour, the others fade; undefined ends the search. */
  search(matches: ((node: FlameNode) => boolean) | undefined): void {
    this.#matches = matches;
    this.#schedule();
  }

  set isRootOnTop(value: boolean) {
    this.#isRootOnTop = value;
    if (this.#zoomed) this.#scrollTo(this.#zoomed);
    this.#schedule();
  }

  /** Draws again, after the colours changed. */
  repaint(): void {
    this.#hatch = null;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      this.#paint();
    });
  }

  #top(depth: number): number {
    const rows = this.#layout!.rows.length;
    const height = Math.max(rows * ROW_HEIGHT, this.#scroller.clientHeight);
    return this.#isRootOnTop ? depth * ROW_HEIGHT : height - (depth + 1) * ROW_HEIGHT;
  }

  #depthAt(y: number): number {
    return this.#isRootOnTop ? Math.floor(y / ROW_HEIGHT) : Math.floor((this.#top(-1) - y) / ROW_HEIGHT);
  }

  #scrollTo(node: FlameNode): void {
    const top = this.#top(node.depth);
    const { scrollTop, clientHeight } = this.#scroller;
    if (top < scrollTop || top + ROW_HEIGHT > scrollTop + clientHeight) {
      this.#scroller.scrollTop = this.#isRootOnTop ? top - ROW_HEIGHT * 3 : top - clientHeight + ROW_HEIGHT * 4;
    }
  }

  #at(event: PointerEvent | MouseEvent): FlameNode | undefined {
    if (!this.#layout || !this.#zoomed) return undefined;
    const box = this.#canvas.getBoundingClientRect();
    const depth = this.#depthAt(event.clientY - box.top + this.#scroller.scrollTop);
    const row = this.#layout.rows[depth];
    const position = this.#zoomed.start + ((event.clientX - box.left) / box.width) * this.#zoomed.total;
    return nodeAt(row, position);
  }

  #hover(node: FlameNode | undefined, event: PointerEvent): void {
    if (node !== this.#hovered) this.#schedule();
    this.#hovered = node;
    this.#canvas.style.cursor = node ? 'pointer' : 'default';
    this.#events.onHover(node, event.clientX, event.clientY);
  }

  #key(key: string): boolean {
    const { root } = this.#layout ?? {};
    const cursor = this.#cursor ?? root;
    if (!cursor || !root) return false;
    const towardsLeaf = this.#isRootOnTop ? 'ArrowDown' : 'ArrowUp';
    const towardsRoot = this.#isRootOnTop ? 'ArrowUp' : 'ArrowDown';
    const siblings = cursor.parent?.children ?? [cursor];
    const index = siblings.indexOf(cursor);
    let next: FlameNode | undefined;
    if (key === towardsLeaf) next = cursor.children[0];
    else if (key === towardsRoot) next = cursor.parent;
    else if (key === 'ArrowRight') next = siblings[index + 1];
    else if (key === 'ArrowLeft') next = siblings[index - 1];
    else if (key === 'Home') next = root;
    else if (key === 'Enter' || key === ' ') {
      this.zoom(cursor);
      return true;
    } else if (key === 'Escape' || key === 'Backspace') {
      this.zoom(key === 'Escape' ? root : (this.#zoomed?.parent ?? root));
      return true;
    } else return false;
    if (next) {
      this.#cursor = next;
      this.#scrollTo(next);
      this.#events.onCursor(next);
      this.#schedule();
    }
    return true;
  }

  #paint(): void {
    const context = this.#canvas.getContext('2d');
    if (!context || !this.#layout || !this.#zoomed) return;
    const { clientWidth: width, clientHeight: height } = this.#scroller;
    const ratio = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
      this.#canvas.style.width = `${width}px`;
      this.#canvas.style.height = `${height}px`;
    }
    const dark = getComputedStyle(this.#canvas).colorScheme === 'dark';
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = FONT;
    context.textBaseline = 'middle';
    this.#hatch ??= makeHatch(context, dark);
    const pen: Pen = { context, dark, hatch: this.#hatch, letter: context.measureText('m').width };

    const { scrollTop } = this.#scroller;
    const first = this.#depthAt(this.#isRootOnTop ? scrollTop : scrollTop + height);
    const last = this.#depthAt(this.#isRootOnTop ? scrollTop + height : scrollTop);
    const from = this.#zoomed.start;
    const scale = width / this.#zoomed.total;
    for (let depth = Math.max(0, first); depth <= last && depth < this.#layout.rows.length; depth++) {
      const row = this.#layout.rows[depth];
      const y = this.#top(depth) - scrollTop;
      for (let i = firstEndingAfter(row, from); i < row.length && row[i].start < from + this.#zoomed.total; i++) {
        const left = Math.max(0, (row[i].start - from) * scale);
        const right = Math.min(width, (row[i].start + row[i].total - from) * scale);
        if (right - left >= MIN_BOX_WIDTH) this.#paintBox(pen, row[i], left, y, right - left);
      }
    }
  }

  #paintBox(pen: Pen, node: FlameNode, x: number, y: number, width: number): void {
    const { context, dark } = pen;
    const isAncestor = node.depth < this.#zoomed!.depth;
    const isFaded = this.#matches !== undefined && !this.#matches(node);
    const boxWidth = Math.max(width - (width > 3 ? 1 : 0), MIN_BOX_WIDTH);
    context.globalAlpha = isFaded ? 0.25 : isAncestor ? 0.55 : 1;
    context.fillStyle = fillOf(node, dark);
    context.fillRect(x, y, boxWidth, ROW_HEIGHT - 1);
    if (node.truncated && pen.hatch && width > 2) {
      context.fillStyle = pen.hatch;
      context.fillRect(x, y, boxWidth, ROW_HEIGHT - 1);
    }
    if (node === this.#hovered || (node === this.#cursor && document.activeElement === this.#canvas)) {
      context.globalAlpha = 1;
      context.strokeStyle = dark ? '#fff' : '#111';
      context.lineWidth = 2;
      context.strokeRect(x + 1, y + 1, boxWidth - 2, ROW_HEIGHT - 3);
    }
    if (width >= MIN_TEXT_WIDTH) {
      context.globalAlpha = isFaded ? 0.5 : 1;
      context.fillStyle = dark ? '#f4f1ea' : '#1b1814';
      context.fillText(fitText(node.label, Math.floor((width - 8) / pen.letter)), x + 4, y + ROW_HEIGHT / 2);
    }
    context.globalAlpha = 1;
  }
}

interface Pen {
  context: CanvasRenderingContext2D;
  dark: boolean;
  hatch: CanvasPattern | null;
  /** Width of a letter in CSS pixels. */
  letter: number;
}

/** A text of at most `letters` letters, the end left out. */
function fitText(text: string, letters: number): string {
  return text.length <= letters ? text : `${text.slice(0, Math.max(0, letters - 1))}…`;
}

/** Diagonal stripes, so that cut stacks are told apart without colours too. */
function makeHatch(context: CanvasRenderingContext2D, dark: boolean): CanvasPattern | null {
  const tile = document.createElement('canvas');
  tile.width = tile.height = 8;
  const pen = tile.getContext('2d');
  if (!pen) return null;
  pen.strokeStyle = dark ? 'rgb(255 255 255 / 0.22)' : 'rgb(120 0 50 / 0.28)';
  pen.lineWidth = 2;
  pen.beginPath();
  for (const offset of [-8, 0, 8]) {
    pen.moveTo(offset, 8);
    pen.lineTo(offset + 8, 0);
  }
  pen.stroke();
  return context.createPattern(tile, 'repeat');
}
