// SPDX-License-Identifier: Apache-2.0
export { Operator, type OperatorOptions } from './operator.ts';
