/** From the call to the comment and back, with everything around the app failing in turn. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fakeFetch, job, post, problem, World } from './fakes.ts';

const POST = 't3_a';
const erased = (): Response => new Response(null, { status: 204 });
const yes = async (): Promise<boolean> => true;
const no = async (): Promise<boolean> => false;
const mention = { id: 't1_call', parent: POST, post: POST, author: 't2_caller', body: 'u/colorize-photos please' };

test('a moderator’s call is answered with the picture, and the service keeps nothing', async () => {
  const world = new World(job('succeeded'), erased());
  const outcome = await world.app().pressed(POST, 't2_mod', true);
  assert.equal(outcome.reply, world.comments[0]!.id);
  assert.equal(world.comments[0]!.parent, POST);
  assert.match(JSON.stringify(world.comments[0]!.body), /i\.redd\.it\/colored\.jpg/);
  assert.match(world.uploads[0]!, /^https:\/\/colors\.example\.org\/v1\/colorizations\/[0-9a-f]{32}\/artifacts\/comparison/);
  assert.deepEqual(world.sent.map((it) => it.method), ['PUT', 'DELETE']);
  assert.deepEqual(world.sent[0]!.url, world.sent[1]!.url);
});

test('a post has one reply, however often it is asked for', async () => {
  const world = new World(job('succeeded'), erased());
  await world.app().heard(mention, no);
  await world.app().heard({ ...mention, id: 't1_again', author: 't2_other' }, no);
  await world.pass();
  const again = await world.app().pressed(POST, 't2_mod', true);
  await world.app().heard({ ...mention, id: 't1_late' }, no);
  await world.pass();
  assert.deepEqual(world.comments.map((it) => it.parent), ['t1_call']);
  assert.equal(again.reply, world.comments[0]!.id);
});

test('two steps at once make one comment', async () => {
  const world = new World(job('succeeded'), job('succeeded'), job('succeeded'), erased());
  await world.app().heard(mention, no);
  await Promise.all([world.app().step(POST), world.app().step(POST), world.app().step(POST)]);
  await world.pass();
  assert.equal(world.comments.length, 1);
});

test('what is not done yet is looked at when the service says, and made once', async () => {
  const world = new World(job('queued', { 'Retry-After': '90' }), job('running'), job('succeeded'), erased());
  await world.app().pressed(POST, 't2_mod', true);
  const [first] = world.scheduled.filter((it) => it.at - world.time === 90_000);
  assert.ok(first);
  world.scheduled = [first];
  await world.pass();
  assert.deepEqual(world.sent.map((it) => it.method), ['PUT', 'GET', 'GET', 'DELETE']);
  assert.equal(new Set(world.sent.map((it) => it.url)).size, 1);
  assert.equal(world.comments.length, 1);
});

test('a lost answer and a full queue are gone through by the same call', async () => {
  const world = new World(new TypeError('fetch failed'), problem(503, 'queue_full', { 'Retry-After': '300' }), job('succeeded'), erased());
  await world.app().pressed(POST, 't2_mod', true);
  const began = world.time;
  await world.pass();
  const puts = world.sent.filter((it) => it.method === 'PUT');
  assert.equal(puts.length, 3);
  assert.equal(new Set(puts.map((it) => it.url + JSON.stringify(it.body))).size, 1);
  assert.ok(world.time - began >= 300_000);
  assert.equal(world.comments.length, 1);
});

test('a service that stays away is given up at last, and whoever asks next is told', async () => {
  const world = new World(...Array.from({ length: 40 }, () => new TypeError('fetch failed')));
  await world.app().heard(mention, no);
  assert.ok((await world.pass()) < 40);
  assert.equal(world.comments.length, 0);
  assert.match((await world.app().pressed(POST, 't2_mod', true)).said, /busy/);
});

test('a comment whose answer is lost is found and not made again', async () => {
  const world = new World(job('succeeded'), erased());
  world.afterComment = async () => {
    throw new Error('the answer is lost');
  };
  await world.app().pressed(POST, 't2_mod', true);
  await world.app().step(POST); // at once, before Reddit lists it
  await world.pass();
  assert.equal(world.comments.length, 1);
  assert.equal((await world.app().pressed(POST, 't2_mod', true)).reply, world.comments[0]!.id);
});

/** A world whose app is ended just after it made a comment, by a call that this begins. */
async function endedWithinComment(begin: (world: World) => Promise<unknown>): Promise<World> {
  const world = new World(job('succeeded'), erased());
  world.afterComment = () => new Promise(() => {}); // it never comes back
  void begin(world);
  while (!world.comments.length) await new Promise((resolve) => setImmediate(resolve));
  world.afterComment = async () => {};
  return world;
}

test('a process that is ended within a comment leaves one comment', async () => {
  const pressed = await endedWithinComment((world) => world.app().pressed(POST, 't2_mod', true));
  await pressed.pass();
  assert.ok((await pressed.app().pressed(POST, 't2_mod', true)).reply);
  assert.equal(pressed.comments.length, 1);

  const scheduled = await endedWithinComment(async (world) => {
    await world.app().heard(mention, no);
    world.scheduled = [];
    await world.app().step(POST);
  });
  await scheduled.app().step(POST); // the scheduler's own repetition, at once
  await scheduled.pass();
  assert.ok((await scheduled.app().pressed(POST, 't2_mod', true)).reply);
  assert.equal(scheduled.comments.length, 1);
});

test('where no picture may be shown in a comment, a link is', async () => {
  const world = new World(job('succeeded'), erased());
  let refused = 0;
  world.beforeComment = async () => {
    if ((refused += 1) === 1) throw new Error('no images here');
  };
  await world.app().pressed(POST, 't2_mod', true);
  await world.pass();
  assert.match(JSON.stringify(world.comments.map((it) => it.body)), /^\[\{"text":"\*\*\[Here it is in color\]\(https:\/\/i\.redd\.it\/colored\.jpg\)/);
});

test('refusals of the service are told once: below a call, or to who pressed', async () => {
  const called = new World(problem(422, 'photo_in_color', {}, { id: 'x' }), erased());
  await called.app().heard(mention, no);
  await called.pass();
  await called.app().heard({ ...mention, id: 't1_again' }, no);
  await called.pass();
  assert.equal(called.comments.length, 1);
  assert.match(JSON.stringify(called.comments[0]), /t1_call.*in color already/);

  const pressed = new World(problem(422, 'photo_damaged'), erased(), job('succeeded'), erased());
  assert.match((await pressed.app().pressed(POST, 't2_mod', true)).said, /broken/);
  assert.match((await pressed.app().pressed(POST, 't2_mod', true)).said, /broken/);
  assert.equal(pressed.comments.length, 0);
  pressed.time += 3_600_000;
  await pressed.app().pressed(POST, 't2_mod', true);
  assert.equal(pressed.comments.length, 1);
  const ids = pressed.sent.filter((it) => it.method === 'PUT').map((it) => it.url);
  assert.equal(new Set(ids).size, 2, 'a later call is another job');

  const misconfigured = new World(problem(403, 'url_not_allowed'), erased());
  await misconfigured.app().heard(mention, no);
  await misconfigured.pass();
  assert.equal(misconfigured.comments.length, 0);
  assert.match(misconfigured.log.join(), /url_not_allowed/);
});

test('who may call is the moderators’ setting', async () => {
  const world = new World();
  assert.match((await world.app().pressed(POST, 't2_anybody', false)).said, /moderators/);
  await world.app({ mentions: 'nobody' }).heard(mention, yes);
  await world.app({ mentions: 'moderators' }).heard(mention, no);
  assert.match((await world.app({ dayLimit: 0 }).pressed(POST, 't2_mod', true)).said, /tomorrow/);
  assert.deepEqual([world.scheduled, world.sent], [[], []]);
  await world.app({ mentions: 'moderators' }).heard(mention, yes);
  assert.equal(world.scheduled.length > 0, true);
});

test('who has opted out is left alone, until they opt in', async () => {
  const world = new World(job('succeeded'), erased());
  await world.app().heard({ ...mention, author: 't2_poster', body: 'u/colorize-photos opt out' }, no);
  assert.match((await world.app().pressed(POST, 't2_mod', true)).said, /leave their pictures alone/);
  await world.app().heard(mention, no);
  assert.deepEqual([world.comments, world.sent], [[], []]);
  await world.app().heard({ ...mention, author: 't2_poster', body: 'u/colorize-photos opt in' }, no);
  await world.app().pressed(POST, 't2_mod', true);
  assert.equal(world.comments.length, 1);
});

test('a post that becomes NSFW while it is colored is left alone', async () => {
  const world = new World(job('queued'), erased());
  await world.app().pressed(POST, 't2_mod', true);
  world.shown = post({ isNsfw: true });
  await world.pass();
  assert.deepEqual([world.comments, world.uploads], [[], []]);
});

test('the author, the original’s author, the caller and moderators take it back; others do not', async () => {
  for (const [who, mod, may] of [
    ['t2_poster', no, true],
    ['t2_first', no, true],
    ['t2_caller', no, true],
    ['t2_mod', yes, true],
    ['t2_anybody', no, false],
  ] as const) {
    const world = new World(job('succeeded'), erased(), erased());
    world.shown = post({ original: post({ author: 't2_first' }) });
    await world.app().heard(mention, no);
    await world.pass();
    const reply = world.comments[0]!.id;
    await world.app().heard({ ...mention, id: 't1_no', parent: reply, author: who, body: 'Please delete this' }, mod);
    assert.equal(world.comments.length, may ? 0 : 1, who);
    assert.match((await world.app().pressed(POST, 't2_mod', true)).said, may ? /was taken back, so I leave it/ : /already/);
    await world.pass();
    assert.equal(world.comments.length, may ? 0 : 1, `${who}: not colored again`);
  }
});

test('a delete that comes while the comment is made is obeyed', async () => {
  const world = new World(job('succeeded'), erased(), erased(), erased());
  world.beforeComment = async () => {
    await world.app().takeBack(POST, 't2_poster', no);
  };
  await world.app().pressed(POST, 't2_mod', true);
  await world.pass();
  assert.deepEqual(world.comments, []);
});

test('with the post its answer goes, and with the comment what is known of it', async () => {
  const world = new World(job('succeeded'), erased(), erased());
  await world.app().pressed(POST, 't2_mod', true);
  await world.app().takeBack(POST, null, no);
  assert.deepEqual([world.comments, world.store.hashes.get('orders')?.size, world.store.hashes.get('replies')?.size], [[], 0, 0]);

  const removed = new World(job('succeeded'), erased(), erased());
  const { reply } = await removed.app().pressed(POST, 't2_mod', true);
  await removed.app().commentGone('t1_other');
  assert.equal(removed.store.hashes.get('orders')?.size, 1);
  await removed.app().commentGone(reply!);
  assert.equal(removed.store.hashes.get('orders')?.size, 0);
});

test('the service is asked for nothing that the post does not have', async () => {
  const world = new World();
  world.shown = post({ url: 'https://v.redd.it/film', isVideo: true });
  assert.match((await world.app().pressed(POST, 't2_mod', true)).said, /video/);
  assert.deepEqual(world.sent, fakeFetch().sent);
});
