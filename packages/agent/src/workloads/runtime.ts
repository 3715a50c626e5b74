// SPDX-License-Identifier: Apache-2.0
/** Which language runtime a process runs, by the files that it has mapped: names as in a policy's `runtimes`, in small letters. */

/** A mapped file, as far as it matters here. */
export interface RuntimeMapping {
  readonly path: string;
  readonly executable: { readonly buildIds: { readonly go: string } } | undefined;
}

/** By file name. A library that embeds a runtime stands before the programs, which may be called otherwise. */
const FILES: readonly (readonly [runtime: string, file: RegExp])[] = [
  ['jvm', /^libjvm\.so/],
  ['dotnet', /^libcoreclr\.so/],
  ['python', /^(libpython[23][0-9.]*\.so|python[0-9.]*$)/],
  ['nodejs', /^(libnode\.so|node$|nodejs$)/],
  ['ruby', /^(libruby[0-9.-]*\.so|ruby[0-9.]*$)/],
  ['php', /^(libphp[0-9.]*\.so|php(-fpm|-cgi)?[0-9.]*$)/],
  ['perl', /^(libperl\.so|perl[0-9.]*$)/],
  ['beam', /^beam(\.smp)?$/],
  ['lua', /^(liblua(jit)?[0-9.-]*\.so|lua(jit)?[0-9.]*$)/],
];

const known = new WeakMap<readonly RuntimeMapping[], string>();

/** `native` where none is recognized. Mapping lists are never changed in place, so the answer is remembered by list. */
export function runtimeOf(mappings: readonly RuntimeMapping[]): string {
  let runtime = known.get(mappings);
  if (runtime === undefined) {
    runtime = recognize(mappings);
    known.set(mappings, runtime);
  }
  return runtime;
}

function recognize(mappings: readonly RuntimeMapping[]): string {
  const names = mappings.map(({ path }) => path.slice(path.lastIndexOf('/') + 1));
  for (const [runtime, file] of FILES) if (names.some((name) => file.test(name))) return runtime;
  return mappings.some(({ executable }) => executable !== undefined && executable.buildIds.go !== '') ? 'go' : 'native';
}
