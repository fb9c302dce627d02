// A browser, and what every page must hold.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'
import { fingersOnly, keyboardOnly, tabThrough } from './keyboard.mjs'

export const url = process.env.PEERS_URL
export const old = process.env.PEERS_OLD_URL // another server, from which people come
export const full = process.env.PEERS_FULL_URL // a server with long names and many rows
export const shots = process.env.PERCH_WEB_SHOTS
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const seen = process.env.PEERS_SEEN // a file for what was looked at, so that nothing is left out
const rules = { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }
const colours = { type: 'rule', values: ['color-contrast', 'link-in-text-block'] } // those that a second colour scheme can break
const maxPage = 60 << 10
export const patience = 120_000 // milliseconds in which a page must come to what is awaited, on however busy a machine

if (shots) mkdirSync(shots, { recursive: true })

export const launch = () =>
  chromium.launch({
    executablePath: process.env.PERCH_CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  })

export const sizes = {
  phone: { viewport: { width: 375, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2, colorScheme: 'dark' },
  desktop: { viewport: { width: 1280, height: 860 }, colorScheme: 'light' },
}

export const languages = ['en', 'de', 'es', 'fr', 'ja', 'pt']

// note writes down that something was looked at or used.
const note = (line) => seen && appendFileSync(seen, JSON.stringify(line) + '\n')

// visit is a fresh browser profile with one tab. Whatever its pages complain about ends up in complaints. A phone is tapped on; a desktop has a keyboard and
// nothing else.
export async function visit(browser, name, options = {}) {
  const context = await browser.newContext({ locale: 'en-US', ...sizes[name], ...options })
  context.setDefaultTimeout(patience)
  const page = await context.newPage()
  const v = { context, page, name, method: '', complaints: [] }
  if (name === 'phone') fingersOnly(page)
  else keyboardOnly(page, (used) => note({ page: used, keyboard: true }))
  page.on('request', (request) => {
    if (!request.isNavigationRequest() || request.frame() !== page.mainFrame()) return
    v.method = request.method()
    if (v.method === 'POST' && name === 'desktop') note({ form: new URL(request.url()).pathname })
  })
  page.on('console', (m) => {
    // A form with errors is answered 422, which browsers call an error too.
    if (['error', 'warning'].includes(m.type()) && !/status of 4\d\d/.test(m.text())) v.complaints.push(m.text())
  })
  page.on('pageerror', (e) => v.complaints.push(String(e)))
  await page.route(/^https?:/, (route) => { // nothing may come from elsewhere
    const to = route.request().url()
    if ([url, old, full, 'http://127.0.0.1:'].some((ours) => ours && to.startsWith(ours))) return route.continue()
    v.complaints.push('it loads ' + to)
    return route.abort()
  })
  return v
}

// audit holds the page that is open against the rules, in both colour schemes, and goes through it from the keyboard.
export async function audit(v, what) {
  const { page } = v
  await fits(v, what)
  for (const [i, colorScheme] of ['light', 'dark'].entries()) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await axe(v, `${what} on ${v.name}, ${colorScheme}`, i > 0 ? colours : rules)
    if (shots) await page.screenshot({ path: `${shots}/${what}-${v.name}-${colorScheme}.png`, fullPage: true })
  }
  await tabThrough(page, `${what} on ${v.name}`)
  assert.deepEqual(v.complaints, [], `${what} on ${v.name}`)
  const { name, lang, path, said } = await about(page)
  note({ page: name, lang, said })
  for (const scheme of ['light', 'dark']) note({ page: name, path: v.method === 'GET' ? path : '', lang, look: `${v.name} ${scheme}` })
}

// inAll looks at the page that is open in the other languages, on a phone.
export async function inAll(v, what) {
  const { page } = v
  const back = page.url()
  for (const lang of v.name === 'phone' ? languages.slice(1) : []) {
    const at = new URL(back)
    at.hash = ''
    at.searchParams.set('lang', lang)
    await page.goto(at.href)
    assert.equal((await about(page)).lang, lang)
    await speaks(v, what)
  }
  if (v.name === 'phone') await page.goto(new URL('/?lang=en', back).href)
  if (v.name === 'phone') await page.goto(back)
}

// held has a page that would go on by itself stay, so that it can be looked at.
export async function held(v, act) {
  const script = '**/assets/app*.js'
  await v.page.route(script, (route) => route.fulfill({ contentType: 'text/javascript', body: '' }))
  await act()
  await v.page.waitForSelector('[data-page=leave]')
  await v.page.unroute(script)
}

// about is what the page that is open says of itself, and in English all that it says.
const about = (page) =>
  page.evaluate(() => {
    const lang = document.documentElement.lang
    const said = () => [
      document.title, ...document.body.innerText.split('\n'), ...[...document.querySelectorAll('option')].map((o) => o.textContent),
      ...[...document.querySelectorAll('main [aria-label]')].map((e) => e.ariaLabel),
    ]
    return { name: document.querySelector('main')?.dataset.page, lang, path: location.pathname, said: lang === 'en' ? said() : [] }
  })

// speaks holds the page that is open against the rules in whichever language it is, once.
export async function speaks(v, what) {
  await fits(v, what)
  await axe(v, what, rules)
  const { name, lang, said } = await about(v.page)
  if (shots && ['en', 'de', 'ja'].includes(lang)) await v.page.screenshot({ path: `${shots}/${lang}-${what}-${v.name}.png`, fullPage: true })
  note({ page: name, lang, said })
}

// said notes what the page that is open says, without much ado: it may not stay.
export async function said(v, what) {
  const { name, lang, said } = await about(v.page)
  if (shots) await v.page.screenshot({ path: `${shots}/${what}.png`, fullPage: true })
  note({ page: name, lang, said })
}

// axe fails for what axe-core finds wrong with the page that is open.
async function axe({ page }, what, runOnly) {
  if (!await page.evaluate(() => Boolean(globalThis.axe))) await page.evaluate(axeSource) // once for a page, whatever its colours
  const { violations } = await page.evaluate((runOnly) => globalThis.axe.run({ runOnly, resultTypes: ['violations'] }), runOnly)
  const list = violations.map((x) => `${x.id}: ${x.help}\n${x.nodes.map((n) => '  ' + n.html + '\n  ' + n.failureSummary).join('\n')}`)
  assert.equal(list.length, 0, `${what}:\n${list.join('\n')}`)
}

// fits tells whether the page is no wider than the screen, no larger than it may be and large enough for fingers, and has not complained.
export async function fits(v, what) {
  const { page } = v
  await page.waitForLoadState('load') // with its stylesheet
  const { wide, bytes, small } = await page.evaluate(measure, v.name === 'phone')
  assert.equal(wide, 0, `${what} on ${v.name} is ${wide} pixels too wide`)
  assert.ok(bytes < maxPage, `${what} ships ${bytes} bytes`)
  assert.deepEqual(small, [], `${what} on ${v.name}: too small for a finger`)
  assert.deepEqual(v.complaints, [], `${what} on ${v.name}`)
}

// measure runs in the page. A link within a sentence may be as high as its line; whatever else is operated has 44 pixels.
const measure = (fingers) => {
  const small = []
  for (const e of fingers ? document.querySelectorAll('a[href], button, input, select, textarea, summary') : []) {
    const target = ['checkbox', 'radio'].includes(e.type) ? e.closest('.choice') : e
    const { width, height } = target.getBoundingClientRect()
    if (e.className === 'skip' || e.type === 'hidden' || getComputedStyle(e).display === 'inline' || !e.checkVisibility({ visibilityProperty: true })) continue
    if (height < 43.5 || width < 24) small.push(`${e.outerHTML.slice(0, 120)} ${width} × ${height}`)
  }
  return {
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    bytes: performance.getEntries().reduce((sum, e) => sum + (e.decodedBodySize || 0), 0), small,
  }
}

let invite // for all whom this process signs up

// signUp makes an account, without the pages.
export async function signUp(name) {
  invite ??= adminPost('com.atproto.server.createInviteCode', { useCount: 100 })
  const response = await fetch(url + '/xrpc/com.atproto.server.createAccount', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ handle: name + '.test', email: name + '@example.com', password: 'correct horse', inviteCode: (await invite).code }),
  })
  assert.equal(response.status, 200, await response.clone().text())
  return response.json()
}

// totp is what an authenticator app shows (RFC 6238).
export function totp(secret) {
  const bits = [...secret].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('')
  const key = Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)))
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000)))
  const sum = createHmac('sha1', key).update(counter).digest()
  return String((sum.readUInt32BE(sum.at(-1) & 15) & 0x7fffffff) % 1e6).padStart(6, '0')
}

export const adminPost = (method, body) => operate('/xrpc/' + method, body)

// operate calls something that is the operator's.
export const operate = async (path, body) => {
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Basic ' + Buffer.from('admin:' + (process.env.PEERS_ADMIN_PASSWORD || 'admin')).toString('base64') },
    body: JSON.stringify(body),
  })
  assert.equal(response.status, 200, await response.clone().text())
  return response.json()
}
