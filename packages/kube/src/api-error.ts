// SPDX-License-Identifier: Apache-2.0

/** The API server's answer when it is not a success: code, and reason and message of its Status object. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /** HTTP status code. */
  readonly code: number;
  /** Such as NotFound, Conflict, Expired, Forbidden; empty where the body was no Status. */
  readonly reason: string;
  /** Milliseconds that the server asked to wait. */
  readonly retryAfterMs: number | undefined;

  constructor(code: number, reason: string, message: string, retryAfterMs?: number) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }

  /** From a response body or a watch's ERROR event. `what` names the request for people. */
  static from(code: number, body: unknown, what: string, retryAfter?: string): ApiError {
    const status = (typeof body === 'object' && body !== null ? body : {}) as {
      reason?: string;
      message?: string;
      code?: number;
    };
    const text =
      status.message ?? (typeof body === 'string' && body.length > 0 ? body.trim().slice(0, 512) : `HTTP ${code}`);
    return new ApiError(code, status.reason ?? '', `${what}: ${text}`, retryAfterMs(retryAfter));
  }
}

/** RFC 9110 allows a date as well; API servers send seconds. */
function retryAfterMs(header: string | undefined): number | undefined {
  if (header === undefined || !/^[0-9]{1,6}$/.test(header.trim())) return undefined;
  return Number(header) * 1000;
}

export function isNotFound(error: unknown): boolean {
  return error instanceof ApiError && error.code === 404;
}

export function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.code === 409;
}

/** The resource version is too old: list again. */
export function isGone(error: unknown): boolean {
  return error instanceof ApiError && (error.code === 410 || error.reason === 'Expired' || error.reason === 'Gone');
}
