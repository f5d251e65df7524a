/** The service's REST API, as far as this app needs it (docs/api.md). Knows nothing of Devvit. */

import { createHmac } from 'node:crypto';

/** Milliseconds after which a call is cut off; Devvit's own limit is 30 seconds, for a call and for all that one event leads to. */
const TIMEOUT = 24_000;
/** Seconds for which the service holds an answer back until the picture is colored. Before that it fetches the photo, in 15 at most. */
const WAIT = 8;
/** Seconds for which the service keeps a picture; it is erased as soon as Reddit has it. */
const KEEP_FOR = 3600;

/** A colorization as it stands. `error`: the code, where it failed. */
export interface Job {
  status: 'pending' | 'succeeded' | 'failed';
  error: string;
  /** Seconds until it is worth while to look again; 0: not said. */
  retryAfter: number;
}

/** The service does not color this now. */
export class ServiceError extends Error {
  /** The problem's stable code; "" where no answer came, or none that can be read. */
  readonly code: string;
  /** Whether the same call may succeed later. It is safe to repeat: one id is one job. */
  readonly isTemporary: boolean;
  /** Seconds; 0: not said. */
  readonly retryAfter: number;

  constructor(code: string, detail: string, isTemporary: boolean, retryAfter = 0) {
    super(`${code || 'no answer'}: ${detail}`);
    this.name = 'ServiceError';
    this.code = code;
    this.isTemporary = isTemporary;
    this.retryAfter = retryAfter;
  }
}

/** Where the service is. Throws Error where `host` is no plain name such as `colors.example.org`, which is all that Devvit allows. */
export function originOf(host: string): string {
  if (!/^[a-z0-9-]+(\.[a-z0-9-]+)+$/.test(host)) {
    throw new Error(`service_host is ${JSON.stringify(host)}: a name without scheme, port and path is needed`);
  }
  return `https://${host}`;
}

/** The id that always comes out for the same words, and that nobody else can guess: 32 hexadecimal digits. */
export function jobId(key: string, ...words: string[]): string {
  return createHmac('sha256', key).update(JSON.stringify(words)).digest('hex').slice(0, 32);
}

/** One service, called with one API key. */
export class Service {
  readonly #origin: string;
  readonly #key: string;
  readonly #fetch: typeof fetch;

  constructor(origin: string, key: string, fetcher: typeof fetch = fetch) {
    this.#origin = origin;
    this.#key = key;
    this.#fetch = fetcher;
  }

  /** Have the picture at this address colored under this id: once, however often this is called. Throws ServiceError. */
  color(id: string, url: string): Promise<Job> {
    const wish = { url, if_color: 'refuse', artifacts: ['comparison'], keep_for: KEEP_FOR };
    return this.#job('PUT', id, { 'Content-Type': 'application/json', Prefer: `wait=${WAIT}` }, JSON.stringify(wish));
  }

  /** How it stands. Throws ServiceError, with `not_found` where it was never made. */
  look(id: string): Promise<Job> {
    return this.#job('GET', id);
  }

  /** Where the gray and the colored picture are, side by side; whoever knows the address may read it. A redirect leads nowhere else. */
  comparison(id: string): string {
    return `${this.#origin}/v1/colorizations/${id}/artifacts/comparison?redirect=false`;
  }

  /** Erase photo and pictures of a job of this key's; done, too, where there are none any more. Throws ServiceError. */
  async erase(id: string): Promise<void> {
    try {
      await this.#send('DELETE', id);
    } catch (error) {
      // An erased job no longer knows which key made it: `secret_wrong`.
      const isGone = error instanceof ServiceError && ['not_found', 'canceled', 'expired', 'secret_wrong'].includes(error.code);
      if (!isGone) throw error;
    }
  }

  async #job(method: string, id: string, headers: Record<string, string> = {}, body?: string): Promise<Job> {
    const answer = await this.#send(method, id, headers, body);
    const { document } = answer;
    const { status } = document;
    const error = isObject(document['error']) ? document['error']['code'] : '';
    switch (status) {
      case 'succeeded':
        return { status: 'succeeded', error: '', retryAfter: 0 };
      case 'queued':
      case 'running':
        return { status: 'pending', error: '', retryAfter: answer.retryAfter };
      case 'failed':
      case 'canceled':
      case 'expired':
        return { status: 'failed', error: typeof error === 'string' && error ? error : status, retryAfter: 0 };
      default:
        throw new ServiceError('', 'the answer is no job', true);
    }
  }

  async #send(
    method: string,
    id: string,
    headers: Record<string, string> = {},
    body?: string,
  ): Promise<{ document: Record<string, unknown>; retryAfter: number }> {
    let response: Response;
    let text: string;
    try {
      response = await this.#fetch(`${this.#origin}/v1/colorizations/${id}`, {
        method,
        headers: { Authorization: `Bearer ${this.#key}`, Accept: 'application/json', ...headers },
        signal: AbortSignal.timeout(TIMEOUT),
        ...(body === undefined ? {} : { body }),
      });
      text = await response.text();
    } catch (error) {
      throw new ServiceError('', String(error), true);
    }
    const document = parsed(text);
    const retryAfter = seconds(response.headers.get('Retry-After'));
    if (response.ok) return { document, retryAfter };
    const code = typeof document['code'] === 'string' ? document['code'] : '';
    // The problem of a photo that failed names its job: to ask again would lead to the same job.
    const isOver = typeof document['id'] === 'string';
    const isTemporary = !isOver && (response.status === 429 || response.status >= 500 || code === 'in_flight' || !code);
    throw new ServiceError(code, `status ${response.status}, ${String(document['detail'] ?? '')}`, isTemporary, retryAfter);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parsed(text: string): Record<string, unknown> {
  try {
    const document: unknown = text ? JSON.parse(text) : {};
    return isObject(document) ? document : {};
  } catch {
    return {};
  }
}

/** Of `Retry-After`, which is a number or a date; 0 where it is neither. */
function seconds(header: string | null): number {
  if (!header) return 0;
  const value = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(value) ? Math.max(0, value) : 0;
}
