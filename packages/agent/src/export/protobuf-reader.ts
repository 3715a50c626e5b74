// SPDX-License-Identifier: Apache-2.0

export interface ProtobufField {
  readonly number: number;
  /** Varints and fixed values; 0n for fields with bytes. */
  readonly value: bigint;
  /** Strings, bytes, nested messages; empty for numbers. */
  readonly bytes: Uint8Array;
}

/** The fields of a message, in the order in which they come; ends at the first that is damaged. */
export function* protobufFields(message: Uint8Array): Generator<ProtobufField> {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const none = new Uint8Array(0);
  let at = 0;
  const varint = (): bigint | undefined => {
    let value = 0n;
    for (let shift = 0n; shift < 70n && at < message.length; shift += 7n) {
      const byte = message[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    return undefined;
  };
  while (at < message.length) {
    const tag = varint();
    if (tag === undefined) return;
    const number = Number(tag >> 3n);
    switch (Number(tag & 7n)) {
      case 0: {
        const value = varint();
        if (value === undefined) return;
        yield { number, value, bytes: none };
        break;
      }
      case 1:
        if (at + 8 > message.length) return;
        yield { number, value: view.getBigUint64(at, true), bytes: none };
        at += 8;
        break;
      case 2: {
        const size = varint();
        if (size === undefined || BigInt(at) + size > BigInt(message.length)) return;
        yield { number, value: 0n, bytes: message.subarray(at, at + Number(size)) };
        at += Number(size);
        break;
      }
      case 5:
        if (at + 4 > message.length) return;
        yield { number, value: BigInt(view.getUint32(at, true)), bytes: none };
        at += 4;
        break;
      default:
        return;
    }
  }
}
