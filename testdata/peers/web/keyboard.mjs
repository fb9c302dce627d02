// Pages used from the keyboard alone, or with fingers.
import assert from 'node:assert/strict'

// inPage makes what the functions below need in the page that is open: the list of what Tab stops at, in its order.
const inPage = () => {
  globalThis.tabStops = () =>
    [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')].filter((e) => {
      if (e.disabled || e.tabIndex < 0 || e.type === 'hidden' || !e.checkVisibility({ visibilityProperty: true })) return false
      return e.type !== 'radio' || e.checked // of a group, the one that is chosen
    })
  globalThis.nameOf = (e) => (e.getAttribute('aria-label') || e.name || e.id || e.textContent).trim().slice(0, 60) || e.tagName
  globalThis.outlined = (e) =>
    [e, e.closest('.entry')].some((x) => x && getComputedStyle(x).outlineStyle !== 'none' && parseFloat(getComputedStyle(x).outlineWidth) > 0)
  if (!globalThis.trail) addEventListener('focusin', ({ target }) => {
    const { top, left, right } = target.getBoundingClientRect()
    globalThis.trail.push({
      name: globalThis.nameOf(target), seen: globalThis.outlined(target), top: top + scrollY, left, right,
      region: target.closest('nav, main, header, footer')?.className ?? '',
    })
  })
  globalThis.trail = []
}

// toTop puts the focus where it is when a page has just been opened.
const toTop = (page) =>
  page.evaluate(() => {
    document.body.tabIndex = -1
    document.body.focus()
    document.body.removeAttribute('tabindex')
  })

const tab = async (page, times = 1, key = 'Tab') => {
  for (let i = 0; i < times; i++) await page.keyboard.press(key)
}

// tabThrough goes through the page with Tab: everything that can be used is reached, once, in an order that follows the eye, and can be seen to have the
// focus; the way out is open at the end; and the skip link leads past the menu.
export async function tabThrough(page, what) {
  await page.evaluate(inPage)
  const names = await page.evaluate(() => globalThis.tabStops().map(globalThis.nameOf))
  await toTop(page)
  await page.evaluate(() => { globalThis.trail.length = 0 })
  await tab(page, names.length)
  const trail = await page.evaluate(() => globalThis.trail)
  assert.deepEqual(trail.map((s) => s.name), names, `${what}: what Tab reaches, and what there is`)
  for (const [i, s] of trail.entries()) {
    assert.ok(s.seen, `${what}: the focus on ${s.name} cannot be seen`)
    const last = trail[i - 1]
    if (last?.region !== s.region) continue
    assert.ok(s.top >= last.top - 8 || s.left >= last.right - 8, `${what}: the focus jumps up from ${last.name} to ${s.name}`)
  }
  await tab(page)
  const caught = await page.evaluate(() => globalThis.tabStops().indexOf(document.activeElement))
  assert.ok(caught <= 0, `${what}: Tab does not lead out at the end`)

  await toTop(page)
  await tab(page)
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip', `${what}: the first stop`)
  await page.keyboard.press('Enter')
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main', `${what}: where the skip link leads`)
  await tab(page)
  const past = await page.evaluate(() => {
    const [first] = globalThis.tabStops().filter((e) => document.querySelector('main').contains(e))
    return !first || first === document.activeElement
  })
  assert.ok(past, `${what}: the first stop after the skip link`)
}

// reach moves the focus with Tab to what a selector means, as somebody does who sees where it is. It returns that, and the name of the page.
async function reach(page, selector) {
  let element
  for (let turn = 0; turn < 8; turn++) {
    await page.evaluate(inPage)
    if (!(await element?.evaluate((e) => e.isConnected))) element = await control(page, selector) // for the first time, or a part was fetched anew
    const { steps, there, name } = await element.evaluate((e) => {
      const stops = globalThis.tabStops()
      const chosen = e.type === 'radio' ? e.form.querySelector(`[name="${e.name}"]:checked`) : e // arrows lead on from there
      const at = stops.indexOf(document.activeElement), to = stops.indexOf(chosen)
      return { there: document.activeElement === chosen, name: document.querySelector('main')?.dataset.page, steps: at < 0 || to < 0 ? 1 : to - at }
    })
    if (there) return { element, name }
    await tab(page, Math.abs(steps), steps < 0 ? 'Shift+Tab' : 'Tab')
  }
  assert.fail(`the keyboard does not reach ${selector}`)
}

// control finds what a selector means: the field of a label, the button around a text.
async function control(page, selector) {
  const found = page.locator(selector).first()
  await found.waitFor()
  const handle = await found.evaluateHandle((e) => {
    const near = e.closest('a[href], button, input, select, textarea, summary, label')
    return near?.control ?? near ?? e
  })
  return handle.asElement()
}

// leads tells whether an element leads to another page, so that it has to be waited for.
const leads = (e) => {
  if (!document.querySelector('main[data-page]')) return false // of another server, whose pages do as they like
  if (e.matches('a[href]')) return !e.target && !e.download && !(e.hash && e.href.split('#')[0] === location.href.split('#')[0])
  const sends = e.form && !e.form.dataset.passkey && e.type !== 'checkbox' && (e.type === 'submit' || e.matches('input'))
  return Boolean(sends && (e.formNoValidate || e.form.checkValidity()))
}

// lead does something to an element, and waits for the page that it leads to, if it does.
async function lead(page, element, act) {
  const leaves = await element.evaluate(leads)
  const next = leaves && Promise.race(['domcontentloaded', 'download'].map((event) => page.waitForEvent(event)))
  await act()
  await next
}

// awaitEnter has the tests' Enter wait for the page that it leads to.
function awaitEnter(page) {
  const press = page.keyboard.press.bind(page.keyboard)
  page.keyboard.press = async (key) =>
    key === 'Enter' ? lead(page, await page.evaluateHandle(() => document.activeElement), () => press(key)) : press(key)
}

// fingersOnly has what tests click be tapped on.
export function fingersOnly(page) {
  awaitEnter(page)
  page.click = async (selector) => {
    const target = page.locator(selector).first()
    await lead(page, await control(page, selector), () => target.tap())
  }
}

// keyboardOnly lets tests use a page from the keyboard alone: whatever they click, fill in, tick and choose is reached with Tab and operated with keys.
// used is told the name of each page that was.
export function keyboardOnly(page, used) {
  awaitEnter(page)
  const go = async (selector) => {
    const { element, name } = await reach(page, selector)
    used(name)
    return element
  }
  page.click = async (selector) => {
    const element = await go(selector)
    const kind = await element.evaluate((e) => (e.matches('input, textarea, select') ? e.type : 'button'))
    if (kind === 'button') return page.keyboard.press('Enter')
    if (kind === 'checkbox') return page.keyboard.press('Space')
    for (let i = 0; kind === 'radio' && i < 9 && !(await element.evaluate((e) => e.checked)); i++) await page.keyboard.press('ArrowDown')
  }
  page.fill = async (selector, text) => {
    await go(selector)
    await page.keyboard.press('Control+A')
    await (text ? page.keyboard.type(text) : page.keyboard.press('Delete'))
  }
  const tick = async (selector, on) => {
    const element = await go(selector)
    if ((await element.evaluate((e) => e.checked)) !== on) await page.keyboard.press('Space')
  }
  page.check = (selector) => tick(selector, true)
  page.uncheck = (selector) => tick(selector, false)
  page.selectOption = async (selector, value) => {
    const element = await go(selector)
    const steps = await element.evaluate((e, v) => [...e.options].findIndex((o) => o.value === v) - e.selectedIndex, value)
    await tab(page, Math.abs(steps), steps < 0 ? 'ArrowUp' : 'ArrowDown')
    assert.equal(await element.evaluate((e) => e.value), value)
  }
  page.press = async (selector, key) => {
    await go(selector)
    await page.keyboard.press(key)
  }
}
