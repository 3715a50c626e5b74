// SPDX-License-Identifier: Apache-2.0
/**
 * Everything that can go wrong in a way a person can act on is an `AgentError`: what happened (`message`), what to do
 * about it (`remedy`), and a stable `code` for machines. Errors are turned into it once, at the edge, by `AgentError.from`.
 */

/** Codes are part of the interface (`--json`, logs): never renamed. The sentence says when each is used. */
export const AGENT_ERROR_CODES = {
  usage: 'the command line is wrong',
  not_permitted: 'the process lacks a capability, or the kernel is locked down',
  bpf_unavailable: 'the kernel was built without BPF, or refuses to load programs',
  btf_missing: 'the kernel does not describe its types (no /sys/kernel/btf/vmlinux)',
  strategy_unavailable: 'the unwind strategy that was asked for does not work on this kernel',
  event_unavailable: 'the event that was asked for does not exist on this machine',
  no_such_process: 'there is no process of that number',
  process_gone: 'the process ended while it was being prepared or recorded',
  command_not_found: 'the command to record does not exist or is not executable',
  output_unwritable: 'the output file cannot be written',
  config_unreadable: 'the configuration file cannot be read',
  config_invalid: 'the configuration has an error',
  agent_unreachable: 'an agent or the API server does not answer, or not with what was asked for',
  no_samples: 'nothing was sampled of what was asked for',
  listen_failed: 'the address to serve HTTP on cannot be used',
  not_built: 'a part that is compiled (BPF object, native addon) has not been built',
  internal: 'a defect of Plumbline',
} as const;

export type AgentErrorCode = keyof typeof AGENT_ERROR_CODES;

export class AgentError extends Error {
  override readonly name = 'AgentError';
  readonly code: AgentErrorCode;
  /** One sentence in the imperative, without a full stop; empty when there is nothing to do. */
  readonly remedy: string;

  constructor(code: AgentErrorCode, message: string, remedy = '', options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }

  /**
   * Any thrown value as an AgentError. Errors of the kernel wrapper carry their own advice and are recognised by shape
   * (`operation` and `advice`), so that this file, which everything imports, depends on nothing.
   */
  static from(thrown: unknown): AgentError {
    if (thrown instanceof AgentError) return thrown;
    if (!(thrown instanceof Error)) return new AgentError('internal', String(thrown), REPORT, { cause: thrown });
    const { code, advice, operation } = thrown as Error & { code?: unknown; advice?: unknown; operation?: unknown };
    if (typeof operation === 'string') {
      const remedy =
        typeof advice === 'string' && advice !== '' ? advice : 'run `plumbline doctor` to see what this kernel offers';
      const message = firstLine(thrown.message).replace(`; ${remedy}`, ''); // BpfError's message ends with its advice
      return new AgentError(codeOfBpfError(String(code), message, remedy), message, remedy, { cause: thrown });
    }
    if (code === 'EACCES' || code === 'EPERM') {
      return new AgentError('not_permitted', thrown.message, 'run as root', { cause: thrown });
    }
    if (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') {
      return new AgentError('not_built', firstLine(thrown.message), 'run `make setup` and `make build`', {
        cause: thrown,
      });
    }
    return new AgentError('internal', thrown.message, REPORT, { cause: thrown });
  }

  /** For terminals and for the one line of a log: what happened, then what to do. */
  toLine(): string {
    const message = firstLine(this.message);
    return this.remedy === '' ? message : `${message}; ${this.remedy}`;
  }

  toJSON(): { code: AgentErrorCode; message: string; remedy: string } {
    return { code: this.code, message: this.message, remedy: this.remedy };
  }
}

const REPORT = 'this is a defect: please report it with the output of PLUMBLINE_LOG_LEVEL=debug';

function firstLine(text: string): string {
  const end = text.indexOf('\n');
  return end < 0 ? text : text.slice(0, end);
}

function codeOfBpfError(code: string, message: string, remedy: string): AgentErrorCode {
  if (code === 'ADDON_MISSING') return 'not_built';
  if (code === 'EPERM' || code === 'EACCES') return 'not_permitted';
  if (/^perf_event_open/.test(message) && (code === 'ENOENT' || code === 'EOPNOTSUPP')) return 'event_unavailable';
  return code === 'BTF_MALFORMED' || /\bBTF\b/.test(remedy) ? 'btf_missing' : 'bpf_unavailable';
}
