// SPDX-License-Identifier: Apache-2.0

/** A typed array that a table grows row by row. */
export type Column = Uint8Array | Uint32Array | Float64Array | BigUint64Array;

/** `column` itself while it has a row `index`, otherwise a copy of twice the size. */
export function withRoom<C extends Column>(column: C, index: number): C {
  if (index < column.length) return column;
  const grown = new (column.constructor as new (length: number) => C)(Math.max(16, index + 1, column.length * 2));
  grown.set(column as never);
  return grown;
}
