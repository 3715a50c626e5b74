// SPDX-License-Identifier: Apache-2.0
import { StringDecoder } from 'node:string_decoder';

/** etcd refuses objects above 1.5 MiB; JSON and metadata make them a little larger. */
const MAX_LINE_LENGTH = 16 * 2 ** 20;

/** The JSON values of a body with one per line, as they arrive. Throws SyntaxError on a line that is no JSON. */
export async function* jsonLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<unknown, void> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  for await (const chunk of body) {
    const text = decoder.write(chunk as Buffer);
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      const line = rest + text.slice(start, end);
      rest = '';
      start = end + 1;
      if (line.trim() !== '') yield JSON.parse(line);
    }
    rest += text.slice(start);
    if (rest.length > MAX_LINE_LENGTH) throw new SyntaxError(`line longer than ${MAX_LINE_LENGTH} characters`);
  }
  // A connection that ends within a line lost an event; the caller resumes from the last whole one.
}
