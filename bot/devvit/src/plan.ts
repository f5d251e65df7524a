/** What is to be done, and in which words: which picture, who may ask, what a comment says, what is answered. Calls nothing. */

/** A post as Reddit shows it now. */
export interface Post {
  /** t3_… */
  id: string;
  /** t2_…; "": not known, as of a deleted account. */
  author: string;
  url: string;
  isVideo: boolean;
  /** In the order in which people see them. */
  pictures: { url: string; isThere: boolean }[];
  isNsfw: boolean;
  isQuarantined: boolean;
  isRemoved: boolean;
  isLocked: boolean;
  /** Of a crosspost the original: null where it cannot be read. */
  original?: Post | null;
}

/** How the moderators want it. */
export interface Settings {
  menuFor: 'moderators' | 'everyone';
  mentions: 'nobody' | 'moderators' | 'everyone';
  over18: boolean;
  dayLimit: number;
}

/** Why there is no picture. */
export type Reason =
  | 'busy'
  | 'damaged'
  | 'day_limit'
  | 'failed'
  | 'gone'
  | 'host'
  | 'in_color'
  | 'locked'
  | 'no_image'
  | 'not_an_image'
  | 'opted_out'
  | 'over_18'
  | 'quarantined'
  | 'removed'
  | 'set_up'
  | 'too_large'
  | 'too_small'
  | 'video'
  | 'withdrawn';

const REFUSALS: Record<Reason, string> = {
  busy: 'I could not get it colored: the service behind me is busy. Please call me again later.',
  damaged: 'I cannot open that picture: its file is cut off or broken. Could you upload it once more?',
  day_limit: 'I have colored as many photographs here today as the moderators allow. Please call me again tomorrow.',
  failed: 'I tried to color this one and failed, and that was not your fault. Sorry! A smaller copy may work.',
  gone: 'I could not fetch the picture from Reddit: it is gone, or too large for me.',
  host: 'I color only pictures that are uploaded to Reddit. Upload it here and call me again.',
  in_color: 'This picture seems to be in color already.',
  locked: 'That post is locked or archived, so I cannot answer there.',
  no_image: 'I see no picture in this post.',
  not_an_image: 'What I found there is not a picture that I can read. A JPEG, PNG or WebP will do.',
  opted_out: 'Whoever posted this asked me to leave their pictures alone, and so I do.',
  over_18: 'I do not color what is marked as NSFW.',
  quarantined: 'This community is quarantined, and I do not answer here.',
  removed: 'That post has been removed, so I left its picture alone.',
  set_up: 'The service behind me refuses me. Whoever runs this app must look at its settings and its log.',
  too_large: 'That picture is too large for me. Post a smaller copy and call me again.',
  too_small: 'That picture is too small or too narrow for me to see anything in it. Is there a larger one?',
  video: 'That is a video or an animation, and I only know how to color still pictures.',
  withdrawn: 'Its colored picture was taken back, so I leave it alone.',
};

/** Of these nothing is said in public: no comment can or should be left there. */
const SILENT: ReadonlySet<Reason> = new Set(['day_limit', 'locked', 'opted_out', 'over_18', 'quarantined', 'removed', 'set_up', 'withdrawn']);

const OF_CODES: Record<string, Reason> = {
  body_too_large: 'too_large',
  photo_animated: 'video',
  photo_damaged: 'damaged',
  photo_empty: 'damaged',
  photo_in_color: 'in_color',
  photo_too_large: 'too_large',
  photo_too_small: 'too_small',
  photo_unsupported: 'not_an_image',
  url_failed: 'gone',
  key_invalid: 'set_up',
  key_missing: 'set_up',
  option_invalid: 'set_up',
  option_unknown: 'set_up',
  scope_missing: 'set_up',
  url_disabled: 'set_up',
  url_not_allowed: 'set_up',
};

/** What a code of the service's refusals means to people. */
export function reasonOf(code: string): Reason {
  return Object.hasOwn(OF_CODES, code) ? OF_CODES[code]! : 'failed';
}

/** The sentence for people. */
export function refusal(reason: Reason): string {
  return REFUSALS[reason];
}

/** Whether a refusal is said below the comment that asked. */
export function isSaidInPublic(reason: Reason): boolean {
  return !SILENT.has(reason);
}

// Which picture, and whether it may be colored.

/** Hosts of Reddit's that pictures are taken from; the service must list them in AUTOCHROME_URL_HOSTS. */
export const HOSTS: ReadonlySet<string> = new Set(['i.redd.it', 'preview.redd.it', 'external-preview.redd.it']);
const MOVES = /\.(gif|gifv|mp4|webm)$/;

/** The post and what it was taken from: what holds for one of their authors holds for all. */
export function origins(post: Post): Post[] {
  return [post, ...(post.original ? origins(post.original) : [])];
}

/** Why its picture is left alone, whoever asks; undefined where it may be colored. */
export function whyNot(post: Post, hasOptedOut: (user: string) => boolean, over18: boolean): Reason | undefined {
  const all = origins(post);
  if (all.some((it) => it.isRemoved || it.original === null)) return 'removed';
  if (post.isQuarantined) return 'quarantined';
  if (post.isLocked) return 'locked';
  if (all.some((it) => it.isNsfw) && !over18) return 'over_18';
  if (all.some((it) => it.author && hasOptedOut(it.author))) return 'opted_out';
  return undefined;
}

/** The address of the picture that is meant: the post's own, or the first of its gallery that is a still one. */
export function pictureOf(post: Post): { url: string } | { reason: Reason } {
  const first = origins(post).at(-1)!;
  if (first.isVideo) return { reason: 'video' };
  const own = isReddits(first.url) ? [{ url: first.url, isThere: true }] : [];
  const found = [...own, ...first.pictures].filter((it) => it.isThere && it.url);
  const still = found.find((it) => isReddits(it.url) && !MOVES.test(new URL(it.url).pathname.toLowerCase()));
  if (still) return { url: still.url };
  if (found.some((it) => isReddits(it.url))) return { reason: 'video' };
  return { reason: found.length ? 'host' : 'no_image' };
}

function isReddits(url: string): boolean {
  const parts = URL.canParse(url) ? new URL(url) : undefined;
  return parts?.protocol === 'https:' && !parts.port && !parts.username && HOSTS.has(parts.hostname);
}

// What a comment asks.

export type Command = 'color' | 'delete' | 'opt_out' | 'opt_in';

const COURTESY = new Set(
  'please pls plz thanks thank you hi hey hello can could would color colour colorize colourize this it that photo photograph picture one the'.split(' '),
);

/**
 * What a comment asks of the app, by a line that says nothing else; undefined where it is talk.
 *
 * `name`: the app's account, without u/: small letters, digits and hyphens. `inReply`: it answers the app's own comment, so that a line needs no name for
 * `delete` and `opt out`.
 */
export function parseCommand(body: string, name: string, inReply: boolean): Command | undefined {
  const called = new RegExp(`(?<![\\w/.@-])(?:/?u/|@)${name}(?![\\w/-])`, 'g');
  for (const raw of body.toLowerCase().replace(/```[\s\S]*?(```|$)/g, '').split('\n')) {
    if (/^(\s{4}|\t|\s*>)/.test(raw)) continue;
    const line = raw.replace(called, ' ');
    const isCalled = line !== raw;
    if (!isCalled && !inReply) continue;
    const said = line.replace(/[’']/g, "'").replace(/^[\s,.:;!*_]+|[\s*_]+$/g, '');
    if (/^(please )?(delete|remove)( (this|that|it|the (comment|picture|photo)))?( please)?($|[,;:.!?—–-]| (because|since|as)\b)/.test(said)) return 'delete';
    const opt = /^opt[ -]?(me )?(out|in)[.!]?$/.exec(said);
    if (opt) return opt[2] === 'out' ? 'opt_out' : 'opt_in';
    if (isCalled && (said.match(/[\p{L}\p{N}']+/gu) ?? []).every((word) => COURTESY.has(word))) return 'color';
  }
  return undefined;
}

// What is answered.

const GUESS = 'The colors are a machine’s guess.';
const ABOUT =
  'I am an app. Answer “delete” if you posted this or called me, and I take it back; “opt out”, and I never color what you post.';
const CAPTION = 'The photograph twice: in gray on the left, in guessed colors on the right';

/** The comment with the picture, as Reddit's rich text. `mediaUrl`: as Devvit's upload gave it. */
export function coloredRichText(mediaUrl: string): object {
  const italic = [2, 0, ABOUT.length];
  return {
    document: [
      { e: 'img', mediaUrl, c: CAPTION },
      { e: 'par', c: [{ e: 'text', t: GUESS }] },
      { e: 'par', c: [{ e: 'text', t: ABOUT, f: [italic] }] },
    ],
  };
}

/** The same as Markdown, with a link to the picture, for communities that take no pictures in comments. */
export function coloredMarkdown(mediaUrl: string): string {
  return `**[Here it is in color](${mediaUrl})**, beside the gray one. ${GUESS}\n\n*${ABOUT}*`;
}

/** A refusal as a comment. */
export function refusalMarkdown(reason: Reason): string {
  return `${refusal(reason)}\n\n*I am an app and only come when I am called. Answer “opt out” and I never color what you post.*`;
}
