// Passkeys, for browsers that have them. The server's question stands in data-passkey of a form; the answer goes into its field "answer".
'use strict'
{
  const forms = document.querySelectorAll('form[data-passkey]')
  const renewal = 8 * 60e3 // the server takes no answers after ten minutes
  let waiting // for the browser's list of what could be filled in

  const bytes = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0))
  const text = (buffer) => buffer && btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')

  // ask puts the question and returns the answer as the server reads it.
  const ask = async (form, options) => {
    const { kind, publicKey } = JSON.parse(form.dataset.passkey)
    publicKey.challenge = bytes(publicKey.challenge)
    if (publicKey.user) publicKey.user.id = bytes(publicKey.user.id)
    for (const c of [...(publicKey.allowCredentials ?? []), ...(publicKey.excludeCredentials ?? [])]) c.id = bytes(c.id)
    const { type, rawId, response } = await navigator.credentials[kind]({ publicKey, ...options })
    const answer = { type, rawId: text(rawId), response: { transports: response.getTransports?.() } }
    for (const part of ['clientDataJSON', 'attestationObject', 'authenticatorData', 'signature', 'userHandle']) {
      if (response[part]) answer.response[part] = text(response[part])
    }
    return JSON.stringify(answer)
  }

  const send = (form, answer) => {
    const remember = document.querySelector('input[type=checkbox][name=remember]')
    if (remember) form.elements.remember.value = remember.checked ? 'on' : ''
    form.elements.answer.value = answer
    form.requestSubmit()
  }

  const complain = (form, error) => {
    const out = form.querySelector('[role=alert]')
    if (error.name === 'AbortError') return
    out.textContent = error.name === 'InvalidStateError' ? out.dataset.known : out.dataset.failed
  }

  const press = async (form) => {
    waiting?.abort()
    form.querySelector('[role=alert]').textContent = ''
    try {
      send(form, await ask(form))
    } catch (error) {
      complain(form, error)
      offer(form)
    }
  }

  // offer has the browser show passkeys where a name is entered, if it can.
  const offer = async (form) => {
    if (!form.dataset.offer || !(await PublicKeyCredential.isConditionalMediationAvailable?.())) return
    const mine = waiting = new AbortController()
    try {
      send(form, await ask(form, { mediation: 'conditional', signal: mine.signal }))
    } catch (error) {
      if (error.name !== 'NotAllowedError') complain(form, error)
    }
  }

  // renew gets a new question from this page, which may be open for hours.
  const renew = async (form) => {
    const page = await fetch(location.href).then((r) => (r.ok ? r.text() : '')).catch(() => '')
    const fresh = new DOMParser().parseFromString(page, 'text/html').querySelector(`form[data-passkey][action="${form.getAttribute('action')}"]`)
    if (!fresh) return
    waiting?.abort()
    form.dataset.passkey = fresh.dataset.passkey
    form.elements.ask.value = fresh.elements.ask.value
    offer(form)
  }

  for (const form of window.PublicKeyCredential && navigator.credentials ? forms : []) {
    form.hidden = false
    form.querySelector('[data-ask]').addEventListener('click', () => press(form))
    form.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.target.type !== 'text') return
      event.preventDefault()
      press(form)
    })
    setInterval(() => renew(form), renewal)
    offer(form)
  }
  for (const note of document.querySelectorAll('[data-no-passkey]')) note.hidden = Boolean(window.PublicKeyCredential)
}
