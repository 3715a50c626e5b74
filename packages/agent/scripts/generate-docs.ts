// SPDX-License-Identifier: Apache-2.0
/**
 * Generates the references in docs/ that are made from the agent's schemas.
 *
 *   node packages/agent/scripts/generate-docs.ts [--check]
 */
import { deliver } from '../../../scripts/generated-files.ts';
import { configurationReference } from '../src/config/reference.ts';
import { metricsReference } from '../src/metrics/reference.ts';

deliver({
  'docs/configuration.md': configurationReference(),
  'docs/metrics.md': metricsReference(),
});
