/**
 * What a real service answers to this app's calls, as JSON: `node build/test/contract.js ORIGIN KEY PICTURES`, where PICTURES is
 * an address below which `gray`, `small`, `color` and no `missing` are. tests/bot/test_devvit.py runs it.
 */

import { jobId, Service, ServiceError, type Job } from '../src/api.ts';

const [origin = '', key = '', pictures = ''] = process.argv.slice(2);
const service = new Service(origin, key);

async function told(call: Promise<Job | void>): Promise<string> {
  try {
    const job = await call;
    return job ? `${job.status} ${job.error}`.trim() : 'done';
  } catch (error) {
    if (error instanceof ServiceError) return `${error.isTemporary ? 'temporary' : 'final'} ${error.code}`.trim();
    throw error;
  }
}

/** A picture's end: asked for again as the app does it, since a busy machine may take longer than one call waits. */
async function colored(id: string, picture: string): Promise<string> {
  let call = told(service.color(id, `${pictures}/${picture}`));
  for (;;) {
    const said = await call;
    if (said !== 'pending' && said !== 'temporary') return said;
    await new Promise((resolve) => setTimeout(resolve, 500));
    call = told(said === 'pending' ? service.look(id) : service.color(id, `${pictures}/${picture}`));
  }
}

const id = jobId(key, 'contract');
const first = await colored(id, 'gray');
const comparison = await fetch(service.comparison(id));
const found = {
  colored: first,
  comparison: `${comparison.status} ${comparison.headers.get('Content-Type')}`,
  bytes: (await comparison.arrayBuffer()).byteLength,
  repeated: await told(service.color(id, `${pictures}/gray`)),
  seen: await told(service.look(id)),
  unknown: await told(service.look(jobId(key, 'unknown'))),
  small: await told(service.color(jobId(key, 'small'), `${pictures}/small`)),
  inColor: await colored(jobId(key, 'color'), 'color'),
  inColorLater: await told(service.look(jobId(key, 'color'))),
  missing: await told(service.color(jobId(key, 'missing'), `${pictures}/missing`)),
  elsewhere: await told(service.color(jobId(key, 'elsewhere'), 'https://elsewhere.example/a.jpg')),
  wrongKey: await told(new Service(origin, `${key}x`).color(jobId(key, 'wrong'), `${pictures}/gray`)),
  nowhere: await told(new Service('http://127.0.0.1:9', key).look(id)),
  erased: await told(service.erase(id)),
  erasedAgain: await told(service.erase(id)),
  afterwards: await told(service.look(id)),
};
console.log(JSON.stringify(found));
