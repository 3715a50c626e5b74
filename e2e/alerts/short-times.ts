// SPDX-License-Identifier: Apache-2.0
import { RULE_PARAMETERS, type RuleParameters } from '../../deploy/monitoring/rule-parameters.ts';

/** The rules as they are shipped, in a minute instead of an hour. */
export const SHORT_TIMES: RuleParameters = {
  ...RULE_PARAMETERS,
  ...{ interval: '1s', short: '15s', long: '1m', holdStacks: '2s', holdAgent: '5s', enough: 50 },
  ...{ history: '30s', historyOffset: '2s', reasons: '10s', enoughHistory: 20 },
};
