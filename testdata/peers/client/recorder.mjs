// A consumer of the firehose by @atproto/sync, with every signature and every proof checked.
import { Firehose } from '@atproto/sync'
import { ids, service } from './harness.mjs'

/** Recorder keeps all events in the order in which they come, and all complaints. */
export class Recorder {
  events = []
  errors = []
  #waiting = new Set()

  /** cursor: from where to replay; absent means from now on. */
  constructor(cursor) {
    this.firehose = new Firehose({
      service: service.replace(/^http/, 'ws'),
      idResolver: ids,
      unauthenticatedCommits: false,
      unauthenticatedHandles: true, // Handles of tests are not on the DNS.
      getCursor: () => this.events.at(-1)?.seq ?? cursor,
      handleEvent: (event) => this.#add(event),
      onError: (err) => this.errors.push(err),
    })
    this.firehose.start()
  }

  #add(event) {
    this.events.push(event)
    for (const check of this.#waiting) check()
  }

  /** until resolves when an event, past or to come, satisfies the predicate; the error after the time says what was awaited. */
  until(what, predicate, ms = 60_000) {
    return new Promise((resolve, reject) => {
      let timer
      const check = () => {
        const found = this.events.find(predicate)
        if (!found) return
        clearTimeout(timer)
        this.#waiting.delete(check)
        resolve(found)
      }
      timer = setTimeout(() => {
        this.#waiting.delete(check)
        reject(new Error(`the firehose did not show ${what}; errors: ${this.errors.map((e) => e.cause ?? e)}`))
      }, ms)
      this.#waiting.add(check)
      check()
    })
  }

  stop() {
    return this.firehose.destroy()
  }
}

/** live starts a recorder and returns once it surely sees what happens from now on: it pokes the server until an event arrives. */
export const live = async (poke) => {
  const recorder = new Recorder()
  for (let tries = 0; recorder.events.length === 0; tries++) {
    if (tries === 40) throw new Error(`nothing on the firehose; errors: ${recorder.errors.map((e) => e.cause ?? e)}`)
    await poke()
    await recorder.until('any event', () => true, 250).catch(() => {})
  }
  return recorder
}

/** commitsOf groups the events of commits: [{did, cid, rev, seq, ops: [{action, path, cid}]}], in order. */
export const commitsOf = (events) => {
  const commits = []
  for (const event of events) {
    if (!['create', 'update', 'delete'].includes(event.event)) continue
    const cid = event.commit.toString()
    if (commits.at(-1)?.cid !== cid) commits.push({ did: event.did, cid, rev: event.rev, seq: event.seq, ops: [] })
    commits.at(-1).ops.push({
      action: event.event,
      path: `${event.collection}/${event.rkey}`,
      ...(event.cid && { cid: event.cid.toString() }),
    })
  }
  return commits
}
