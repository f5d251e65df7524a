/** The calls of the REST API, against a `fetch` that answers as the service does. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { jobId, originOf, Service, ServiceError } from '../src/api.ts';
import { fakeFetch, job, problem } from './fakes.ts';

const ID = jobId('ac_key', 't3_a');
const PICTURE = 'https://i.redd.it/harbor.jpg';

async function errorOf(call: Promise<unknown>): Promise<ServiceError> {
  const error: unknown = await call.then(() => undefined, (it: unknown) => it);
  assert.ok(error instanceof ServiceError);
  return error;
}

test('a picture is colored by one PUT with its address', async () => {
  const { fetcher, sent } = fakeFetch(job('succeeded'));
  const done = await new Service('https://colors.example.org', 'ac_key', fetcher).color(ID, PICTURE);
  assert.deepEqual(done, { status: 'succeeded', error: '', retryAfter: 0 });
  const [asked] = sent;
  assert.equal(`${asked!.method} ${asked!.url}`, `PUT https://colors.example.org/v1/colorizations/${ID}`);
  assert.equal(asked!.headers.get('Authorization'), 'Bearer ac_key');
  assert.match(asked!.headers.get('Prefer') ?? '', /^wait=\d+$/);
  assert.deepEqual(asked!.body, { url: PICTURE, if_color: 'refuse', artifacts: ['comparison'], keep_for: 3600 });
});

test('a lost answer may be repeated: the second call is the same as the first', async () => {
  const { fetcher, sent } = fakeFetch(new TypeError('fetch failed'), job('succeeded'));
  const service = new Service('https://colors.example.org', 'ac_key', fetcher);
  const lost = await errorOf(service.color(ID, PICTURE));
  assert.ok(lost.isTemporary);
  assert.equal((await service.color(ID, PICTURE)).status, 'succeeded');
  assert.deepEqual([sent[0]!.method, sent[0]!.url, sent[0]!.body], [sent[1]!.method, sent[1]!.url, sent[1]!.body]);
});

test('a job that is not done says when to look again', async () => {
  const { fetcher, sent } = fakeFetch(job('queued', { 'Retry-After': '7' }), job('running'), job('failed', {}, { code: 'photo_damaged' }));
  const service = new Service('https://colors.example.org', 'ac_key', fetcher);
  assert.deepEqual(await service.color(ID, PICTURE), { status: 'pending', error: '', retryAfter: 7 });
  assert.deepEqual(await service.look(ID), { status: 'pending', error: '', retryAfter: 0 });
  assert.deepEqual(await service.look(ID), { status: 'failed', error: 'photo_damaged', retryAfter: 0 });
  assert.deepEqual(sent.map((it) => it.method), ['PUT', 'GET', 'GET']);
});

test('refusals are told from what passes', async () => {
  const inAnHour = new Date(Date.now() + 3_600_000).toUTCString();
  const cases: [Response, string, boolean, number][] = [
    [problem(503, 'queue_full', { 'Retry-After': '120' }), 'queue_full', true, 120],
    [problem(429, 'rate_limited', { 'Retry-After': '30' }), 'rate_limited', true, 30],
    [problem(507, 'store_full'), 'store_full', true, 0],
    [problem(409, 'in_flight', { 'Retry-After': '1' }), 'in_flight', true, 1],
    [problem(422, 'photo_too_small'), 'photo_too_small', false, 0],
    [problem(422, 'photo_in_color', {}, { id: ID }), 'photo_in_color', false, 0],
    [problem(500, 'worker_died', {}, { id: ID }), 'worker_died', false, 0],
    [problem(401, 'key_invalid'), 'key_invalid', false, 0],
    [problem(403, 'url_not_allowed'), 'url_not_allowed', false, 0],
    [new Response('<h1>Bad Gateway', { status: 502 }), '', true, 0],
    [new Response('[]', { status: 200 }), '', true, 0],
  ];
  for (const [answer, code, isTemporary, retryAfter] of cases) {
    const error = await errorOf(new Service('https://a.example', 'ac_key', fakeFetch(answer).fetcher).color(ID, PICTURE));
    assert.deepEqual([error.code, error.isTemporary, error.retryAfter], [code, isTemporary, retryAfter]);
  }
  const dated = fakeFetch(problem(503, 'stopping', { 'Retry-After': inAnHour })).fetcher;
  const { retryAfter } = await errorOf(new Service('https://a.example', 'ac_key', dated).look(ID));
  assert.ok(retryAfter > 3000 && retryAfter <= 3600);
});

test('erasing what is gone is done', async () => {
  const answers = [new Response(null, { status: 204 }), problem(404, 'not_found'), problem(403, 'secret_wrong'), problem(503, 'queue_unavailable')];
  const { fetcher, sent } = fakeFetch(...answers);
  const service = new Service('https://a.example', 'ac_key', fetcher);
  for (let count = 0; count < 3; count += 1) await service.erase(ID);
  assert.ok((await errorOf(service.erase(ID))).isTemporary);
  assert.deepEqual([...new Set(sent.map((it) => it.method))], ['DELETE']);
});

test('ids are the service’s, the same for the same words, and not to be guessed', () => {
  assert.match(ID, /^[0-9a-f]{32}$/);
  assert.equal(ID, jobId('ac_key', 't3_a'));
  assert.equal(new Set([ID, jobId('ac_other', 't3_a'), jobId('ac_key', 't3_', 'a'), jobId('ac_key', 't3_a', '')]).size, 4);
});

test('the service is a plain name', () => {
  assert.equal(originOf('colors.example.org'), 'https://colors.example.org');
  for (const wrong of ['', 'https://colors.example.org', 'colors.example.org/v1', 'localhost', 'a.example:8000', '*.example.org']) {
    assert.throws(() => originOf(wrong), /service_host/);
  }
});
