// The pages of moves in states that take hours, or a fault of somebody else's, to come to: how a move stands is put into the database.
import { after, before, test } from 'node:test'
import { launch, said, speaks, url } from '../web/browser.mjs'
import { begin, door, enter, join, lax, leave, openPassword, password, refused, settle, stage, walk } from './stage.mjs'

let browser
before(async () => { browser = await launch() })
after(() => browser?.close())

const troubles = ['silent', 'busy', 'refused', 'directory', 'down', 'here', 'large']
const soon = () => new Date(Date.now() + 240_000).toISOString()
const calm = { error: null, trouble: null, retryAt: null, needs: null, lost: null }
const whys = ['missing', 'large', 'other', 'refused', 'faulty']
const lost = Array.from({ length: 120 }, (_, i) => ({ cid: 'bafkrei' + String(i).padStart(52, 'a'), code: whys[i % whys.length], reason: 'said in English' }))
const notes = (codes) => codes.map((code) => ({ code, with: code === 'key' ? 'did:key:zQ3sh' + 'x'.repeat(45) : 'bafyrei' + 'a'.repeat(52), text: 'in English' }))

// gallery looks at the page of a move in one state after the other.
async function gallery(v, did, path, states) {
  for (const [what, state, data, act] of states) {
    await v.page.goto('about:blank') // whose script does not go on to the next state by itself
    await stage({ do: 'show', did, state, data: { ...calm, ...data } })
    await v.page.goto(url + path)
    await act?.()
    await speaks(v, path.slice(1).replaceAll('/', '-') + '-' + what)
  }
}

const trouble = (kind, more) => [`trouble-${kind}`, 'blobs', { error: 'said in English', trouble: kind, retryAt: soon(), ...more }]

test('how a move here may stand', { concurrency: true }, () => walk(browser, 'phone', async (v, page) => {
  const { did, name } = await join('states', { pictures: 2 })
  await enter(page, did)
  await page.waitForURL('**/move/account')
  await settle(page, name)
  await page.waitForSelector('#code')
  const openLost = () => page.click('summary:has-text("Which ones")')
  const report = { records: 12345, blobs: 678, blobBytes: 9 << 30, seconds: 7500 }
  await gallery(v, did, '/move/progress', [
    ['begin', 'repo'], ['blobs', 'blobs'], ['compare', 'preferences'], ['switch', 'moved'], ['abandoning', 'abandoning'],
    ...troubles.map((kind) => trouble(kind)),
    ['sign-in', 'blobs', { needs: 'sign-in', error: 'said in English' }],
    ['farewell', 'active', { needs: 'farewell' }], // at old servers that let nobody deactivate an account who has signed in in a browser
    ['lost', 'code', { lost }, openLost],
    ['report', 'done', { report: { ...report, lost, notes: notes(['stays', 'key', 'no-prefs-old', 'no-reset', 'birth', 'last', 'elsewhere', 'active', 'late']) } }, openLost],
  ])

  // What the sign-in at the old server says meanwhile.
  const signIn = async (state, text) => {
    await stage({ do: 'show', did, state, data: { ...calm, report: null } })
    await page.goto(`${url}/move/from?account=${did}`)
    if (await page.$('#invite')) await begin(page, did)
    await openPassword(page)
    await page.fill('#password', password)
    await refused(page, 'form[action^="/move/sign-in"] button[type=submit]', text)
    await speaks(v, 'move-sign-in-' + state)
  }
  await signIn('moved', 'has been switched over already')
  await signIn('abandoning', 'Another move of this account')

  await stage({ do: 'show', did, state: 'blobs', data: calm })
  await walk(browser, 'phone', async (plain) => {
    await plain.page.goto(url + '/move/progress')
    await said(plain, 'move-progress-plain')
  }, { javaScriptEnabled: false, storageState: await v.context.storageState() })
}))

test('how a move away may stand', { concurrency: true }, () => walk(browser, 'phone', async (v, page) => {
  const { did, name, handle } = await join('leaver', { origin: url, pictures: 2 })
  await page.goto(url + '/account/sign-in')
  await page.fill('#identifier', handle)
  await page.fill('#password', password)
  await page.keyboard.press('Enter')
  await page.waitForURL('**/account')
  await page.goto(`${url}/account/move/to?to=${door}`)
  await leave(page, name)
  await page.waitForSelector('#code')
  const path = '/account/move/progress'
  const operation = {
    type: 'plc_operation', prev: 'bafyrei' + 'a'.repeat(52), rotationKeys: ['did:key:zQ3sh' + 'x'.repeat(45)], alsoKnownAs: ['at://' + handle],
    verificationMethods: { atproto: 'did:key:zQ3sh' + 'y'.repeat(45) }, services: { atproto_pds: { type: 'AtprotoPersonalDataServer', endpoint: door } },
  }
  await gallery(v, did, path, [
    ['switch', 'moved'], trouble('silent'), trouble('directory', { holding: true, wasActive: true }),
    ['named', 'code', { endpoint: 'https://another.example.com', holding: false }],
    ['sign-in', 'blobs', { needs: 'sign-in', error: 'said in English' }],
    ['document', 'document', { document: { services: { atproto_pds: { type: 'AtprotoPersonalDataServer', endpoint: 'https://another.example.com' } } } }],
    ['signature', 'code', { ownerSigns: true, unsigned: operation }],
  ])
  await lax(page)
  await page.fill('#operation', '{"type": 1}')
  await refused(page, 'button:has-text("Move the account away")', 'does not move your account as it should')
  await speaks(v, 'account-move-signature-wrong')
  await gallery(v, did, path, [
    ['abandoned', 'abandoned', { ownerSigns: null, notes: notes(['left', 'deactivated']) }],
    ['report', 'done', { report: { records: 1, blobs: 2, blobBytes: 3, seconds: 4, notes: notes(['no-prefs-new', 'asked']) } }],
  ])
  await page.goto(url + '/account/move')
  await speaks(v, 'account-move-last')

  // Nobody can know whether the directory has taken what was sent to it.
  await stage({ do: 'show', did, state: 'submit', data: { ...calm, operation, report: null } })
  await stage({ do: 'spoil', door: 'plc', method: 'GET', path: `/${did}/log/last`, status: 502 })
  await page.goto(url + '/account/move/abandon')
  await refused(page, 'button:has-text("Give it up")', 'nobody can know')
  await speaks(v, 'account-move-unsure')
}))
