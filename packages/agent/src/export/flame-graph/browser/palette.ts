// SPDX-License-Identifier: Apache-2.0
import { TRUNCATED_KIND } from '../flame-data.ts';
import { type FlameNode, PROCESS_KIND } from './flame-layout.ts';

/** Hue and saturation of each group of frame kinds; lightness varies a little with the name. */
export interface KindStyle {
  /** As the legend says it. */
  title: string;
  hue: number;
  saturation: number;
}

const NATIVE: KindStyle = { title: 'native', hue: 32, saturation: 78 };
const STYLES: Readonly<Record<string, KindStyle>> = {
  native: NATIVE,
  rust: { title: 'Rust', hue: 18, saturation: 74 },
  kernel: { title: 'kernel', hue: 212, saturation: 55 },
  go: { title: 'Go', hue: 184, saturation: 50 },
  synthetic: { title: 'marker', hue: 0, saturation: 0 },
  [PROCESS_KIND]: { title: 'process', hue: 220, saturation: 9 },
  [TRUNCATED_KIND]: { title: 'truncated: callers unknown', hue: 338, saturation: 72 },
};
const INTERPRETED: KindStyle = { title: 'interpreted or JIT', hue: 128, saturation: 38 };

export function kindStyle(kind: string): KindStyle {
  return STYLES[kind] ?? INTERPRETED;
}

/** Fill of a box. Cut stacks have one hue, whatever their frames are; the painter hatches them as well. */
export function fillOf(node: FlameNode, dark: boolean): string {
  const { hue, saturation } = kindStyle(node.truncated ? TRUNCATED_KIND : node.kind);
  const variation = hashOf(node.module || node.label) % 13;
  const lightness = dark ? 34 + variation : 68 + variation;
  return `hsl(${hue + (variation % 5) * 2 - 4} ${dark ? saturation * 0.62 : saturation}% ${lightness}%)`;
}

function hashOf(text: string): number {
  let hash = 0;
  for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) >>> 0;
  return hash;
}
