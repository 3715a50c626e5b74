// SPDX-License-Identifier: Apache-2.0
/** Curves as an SVG picture, both axes logarithmic. */

export interface Series {
  readonly name: string;
  /** A CSS colour. */
  readonly color: string;
  /** Drawn with dashes. */
  readonly dashed?: boolean;
  /** Sorted by x; all positive. */
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Chart {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
}

const WIDTH = 760;
const HEIGHT = 440;
const LEFT = 96;
const RIGHT = 30;
const TOP = 48;
const BOTTOM = 56;

interface Axis {
  readonly ticks: readonly number[];
  /** Share of the way along the axis. */
  at(value: number): number;
}

/** Whole powers of the base around the values. */
function axis(values: readonly number[], base: number): Axis {
  const log = (value: number) => Math.log(value) / Math.log(base);
  // Logarithms of powers are not exact.
  const low = Math.floor(log(Math.min(...values)) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(log(Math.max(...values)) - 1e-9));
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => base ** (low + i));
  return { ticks, at: (value) => (log(value) - low) / (high - low) };
}

const escapeText = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const round = (value: number) => Math.round(value * 10) / 10;

export function lineChart({ title, x, y, series }: Chart): string {
  const points = series.flatMap((one) => one.points);
  const across = axis(
    points.map(([value]) => value),
    2,
  );
  const up = axis(
    points.map(([, value]) => value),
    10,
  );
  const px = (value: number) => round(LEFT + across.at(value) * (WIDTH - LEFT - RIGHT));
  const py = (value: number) => round(HEIGHT - BOTTOM - up.at(value) * (HEIGHT - TOP - BOTTOM));
  const text = (at: string, words: string) => `<text ${at}>${escapeText(words)}</text>`;
  const grid = [
    ...across.ticks.map((tick) => `<path class="grid" d="M${px(tick)} ${TOP}V${HEIGHT - BOTTOM}"/>`),
    ...up.ticks.map((tick) => `<path class="grid" d="M${LEFT} ${py(tick)}H${WIDTH - RIGHT}"/>`),
    ...across.ticks.map((tick) =>
      text(`x="${px(tick)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle"`, tick.toLocaleString('en')),
    ),
    ...up.ticks.map((tick) => text(`x="${LEFT - 8}" y="${py(tick) + 4}" text-anchor="end"`, tick.toLocaleString('en'))),
  ];
  const curves = series.flatMap(({ name, color, dashed, points: along }, i) => {
    const style = `stroke="${color}"${dashed ? ' stroke-dasharray="6 4"' : ''}`;
    const key = TOP + 18 + 20 * i;
    return [
      `<path class="curve" ${style} d="M${along.map(([a, b]) => `${px(a)} ${py(b)}`).join('L')}"/>`,
      ...along.map(([a, b]) => `<circle cx="${px(a)}" cy="${py(b)}" r="3" fill="${color}"/>`),
      `<path class="curve" ${style} d="M${LEFT + 14} ${key}h34"/>`,
      text(`x="${LEFT + 56}" y="${key + 4}"`, name),
    ];
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">
<title>${escapeText(title)}</title>
<style>text{font:13px system-ui,sans-serif;fill:#333}.grid{stroke:#ddd}.curve{fill:none;stroke-width:2}</style>
<rect width="100%" height="100%" fill="#fff"/>
${text(`x="${LEFT}" y="26" font-weight="600"`, title)}
${grid.join('\n')}
${curves.join('\n')}
${text(`x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 14}" text-anchor="middle"`, x)}
${text(`x="18" y="${(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" transform="rotate(-90 18 ${(TOP + HEIGHT - BOTTOM) / 2})"`, y)}
</svg>
`;
}
