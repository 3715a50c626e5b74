// SPDX-License-Identifier: Apache-2.0
import { Profile } from '../profile/profile.ts';
import { buildFlameData, type FlameOptions } from './flame-graph/flame-tree.ts';
import { type PageOptions, renderPage } from './flame-graph/page.ts';

/** Some profiles, shown as one, as a flame graph page: a single HTML file that needs no network. */
export function encodeHtml(profiles: Profile | readonly Profile[], options: FlameOptions & PageOptions = {}): string {
  return renderPage(buildFlameData(profiles instanceof Profile ? [profiles] : profiles, options), options);
}
