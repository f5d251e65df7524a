/** Which picture, who may ask, and what a comment says. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { coloredMarkdown, coloredRichText, parseCommand, pictureOf, reasonOf, refusal, whyNot, type Post } from '../src/plan.ts';
import { post } from './fakes.ts';

const nobody = (): boolean => false;

test('the picture is the post’s own, or the first still one of its gallery', () => {
  const preview = 'https://preview.redd.it/two.jpg?width=640&s=abc';
  const gallery = [
    { url: 'https://preview.redd.it/one.jpg', isThere: false },
    { url: 'https://i.redd.it/moves.gif', isThere: true },
    { url: preview, isThere: true },
  ];
  const cases: [Partial<Post>, object][] = [
    [{}, { url: 'https://i.redd.it/harbor.jpg' }],
    [{ url: 'https://www.reddit.com/gallery/a', pictures: gallery }, { url: preview }],
    [{ url: 'https://www.reddit.com/r/x/comments/b', original: post({ url: 'https://i.redd.it/first.png' }) }, { url: 'https://i.redd.it/first.png' }],
    [{ url: 'https://i.redd.it/moves.gif' }, { reason: 'video' }],
    [{ url: 'https://v.redd.it/film', isVideo: true, pictures: [{ url: preview, isThere: true }] }, { reason: 'video' }],
    [{ url: 'https://elsewhere.example/a.jpg', pictures: [{ url: 'https://elsewhere.example/a.jpg', isThere: true }] }, { reason: 'host' }],
    [{ url: 'http://i.redd.it/harbor.jpg' }, { reason: 'no_image' }],
    [{ url: 'https://i.redd.it@elsewhere.example/a.jpg' }, { reason: 'no_image' }],
    [{ url: 'https://www.reddit.com/r/x/comments/a' }, { reason: 'no_image' }],
  ];
  for (const [changes, expected] of cases) assert.deepEqual(pictureOf(post(changes)), expected, JSON.stringify(changes));
});

test('a post is left alone for its own sake and for that of its original', () => {
  const optedOut = (user: string): boolean => user === 't2_away';
  const cases: [Partial<Post>, string | undefined][] = [
    [{}, undefined],
    [{ isNsfw: true }, 'over_18'],
    [{ original: post({ isNsfw: true }) }, 'over_18'],
    [{ author: 't2_away' }, 'opted_out'],
    [{ original: post({ author: 't2_away' }) }, 'opted_out'],
    [{ original: post({ isRemoved: true }) }, 'removed'],
    [{ original: null }, 'removed'],
    [{ isLocked: true }, 'locked'],
    [{ isQuarantined: true }, 'quarantined'],
  ];
  for (const [changes, expected] of cases) assert.equal(whyNot(post(changes), optedOut, false), expected, JSON.stringify(changes));
  assert.equal(whyNot(post({ isNsfw: true }), nobody, true), undefined);
});

test('a line that says nothing else calls the app; talk does not', () => {
  const cases: [string, boolean, string | undefined][] = [
    ['u/colorize-photos', false, 'color'],
    ['Hey /u/Colorize-Photos, could you please color this photo? Thanks!', false, 'color'],
    ['What a face!\n\nu/colorize-photos please', false, 'color'],
    ['I hate u/colorize-photos', false, undefined],
    ['Please don’t call u/colorize-photos on this one', false, undefined],
    ['> u/colorize-photos', false, undefined],
    ['    u/colorize-photos', false, undefined],
    ['```\nu/colorize-photos\n```', false, undefined],
    ['u/colorize-photos-2', false, undefined],
    ['example.org/u/colorize-photos', false, undefined],
    ['delete', false, undefined],
    ['delete', true, 'delete'],
    ['Please delete this, she is my mother', true, 'delete'],
    ['delete the scratches', true, undefined],
    ['I would never delete this', true, undefined],
    ['u/colorize-photos delete', false, 'delete'],
    ['opt out', true, 'opt_out'],
    ['u/colorize-photos opt out', false, 'opt_out'],
    ['Opt in.', true, 'opt_in'],
    ['Thanks, beautiful!', true, undefined],
    ['please', true, undefined],
  ];
  for (const [body, inReply, expected] of cases) assert.equal(parseCommand(body, 'colorize-photos', inReply), expected, body);
});

test('the comment says that it is a guess, and how to take it back', () => {
  const shown = JSON.stringify(coloredRichText('https://i.redd.it/new.jpg'));
  for (const text of [shown, coloredMarkdown('https://i.redd.it/new.jpg')]) {
    assert.match(text, /https:\/\/i\.redd\.it\/new\.jpg.*The colors are a machine’s guess\..*delete.*opt out/s);
  }
});

test('each code of the service has a sentence', () => {
  assert.equal(refusal(reasonOf('photo_in_color')), 'This picture seems to be in color already.');
  assert.match(refusal(reasonOf('url_not_allowed')), /settings/);
  assert.match(refusal(reasonOf('something_new')), /failed/);
  assert.match(refusal(reasonOf('constructor')), /failed/);
});
