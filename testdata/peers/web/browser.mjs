// A browser, and what every page must hold.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'

export const url = process.env.PEERS_URL
export const old = process.env.PEERS_OLD_URL // another server, from which people come
export const shots = process.env.PERCH_WEB_SHOTS
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
const maxPage = 60 << 10

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

// visit is a fresh browser profile with one tab. Whatever its pages complain about ends up in complaints.
export async function visit(browser, name, options = {}) {
  const context = await browser.newContext({ locale: 'en-US', ...sizes[name], ...options })
  const page = await context.newPage()
  const v = { context, page, name, complaints: [] }
  page.on('console', (m) => {
    // A form with errors is answered 422, which browsers call an error too.
    if (['error', 'warning'].includes(m.type()) && !/status of 4\d\d/.test(m.text())) v.complaints.push(m.text())
  })
  page.on('pageerror', (e) => v.complaints.push(String(e)))
  await page.route(/^https?:/, (route) => { // nothing may come from elsewhere
    const to = route.request().url()
    if (to.startsWith(url) || (old && to.startsWith(old)) || to.startsWith('http://127.0.0.1:')) return route.continue()
    v.complaints.push('it loads ' + to)
    return route.abort()
  })
  return v
}

// audit holds the page that is open against the rules, in both colour schemes.
export async function audit(v, what) {
  const { page } = v
  await page.waitForLoadState('load') // with its stylesheet
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await page.evaluate(axe)
    const { violations } = await page.evaluate((values) => globalThis.axe.run({ runOnly: { type: 'tag', values } }), rules)
    const list = violations.map((x) => `${x.id}: ${x.help}\n${x.nodes.map((n) => '  ' + n.html + '\n  ' + n.failureSummary).join('\n')}`)
    assert.equal(list.length, 0, `${what} on ${v.name}, ${colorScheme}:\n${list.join('\n')}`)
    if (shots) await page.screenshot({ path: `${shots}/${what}-${v.name}-${colorScheme}.png`, fullPage: true })
  }
  await fits(v, what)
}

// fits tells whether the page is no wider than the screen, and no larger than it may be, and has not complained.
export async function fits(v, what) {
  const { page } = v
  await page.waitForLoadState('load')
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  assert.equal(wide, 0, `${what} on ${v.name} is ${wide} pixels too wide`)
  const bytes = await page.evaluate(() => performance.getEntries().reduce((sum, e) => sum + (e.decodedBodySize || 0), 0))
  assert.ok(bytes < maxPage, `${what} ships ${bytes} bytes`)
  assert.deepEqual(v.complaints, [], `${what} on ${v.name}`)
}

// focused is what has the focus, and whether that can be seen.
export const focused = (page) =>
  page.evaluate(() => {
    const e = document.activeElement
    const seen = (x) => x && getComputedStyle(x).outlineStyle !== 'none' && parseFloat(getComputedStyle(x).outlineWidth) > 0
    return { name: e.name || e.id || e.textContent.trim(), tag: e.tagName, visible: Boolean(seen(e) || seen(e.closest('.entry'))) }
  })

// tabTo presses Tab until the element with that name has the focus, as somebody without a mouse does.
export async function tabTo(page, name) {
  for (let i = 0; i < 60; i++) {
    const at = await focused(page)
    if (at.tag !== 'BODY' && at.tag !== 'MAIN') assert.ok(at.visible, `the focus on ${at.tag} ${at.name} cannot be seen`)
    if (at.name === name) return
    await page.keyboard.press('Tab')
  }
  assert.fail(`the keyboard does not reach ${name}`)
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
