// Help for those who have scripts. Nothing needs it: every page works by links and forms.
'use strict'
document.documentElement.classList.add('scripted')

const all = (selector) => document.querySelectorAll(selector)

// A password can be looked at.
for (const button of all('[data-reveal]')) {
  button.addEventListener('click', () => {
    const input = document.getElementById(button.dataset.reveal)
    const shown = input.type === 'text'
    input.type = shown ? 'password' : 'text'
    button.setAttribute('aria-pressed', String(!shown))
  })
}

// A text can be copied.
for (const button of all('[data-copy]')) {
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent)
    const before = button.textContent
    button.textContent = button.dataset.done
    setTimeout(() => { button.textContent = before }, 2000)
  })
}

// A text can be kept as a file. It was on this page only, so it is not fetched again.
for (const link of all('[data-save]')) {
  link.addEventListener('click', () => {
    link.href = URL.createObjectURL(new Blob([document.getElementById(link.dataset.save).textContent + '\n'], { type: 'text/plain' }))
  })
}

// A picture is shown before it is sent, and made as small as it may be. What a camera has noted in it, such as the place, stays out.
for (const input of all('[data-picture]')) {
  input.addEventListener('change', async () => {
    const file = input.files[0], shown = document.getElementById(input.dataset.picture)
    const image = file && await createImageBitmap(file).catch(() => null)
    if (!image) return
    const scale = Math.min(1, Math.max(input.dataset.width / image.width, input.dataset.height / image.height))
    const canvas = document.createElement('canvas')
    canvas.width = Math.round(image.width * scale)
    canvas.height = Math.round(image.height * scale)
    canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height)
    shown.src = canvas.toDataURL('image/jpeg', 0.7)
    shown.hidden = false
    for (const [type, quality] of [['image/png'], ['image/jpeg', 0.9], ['image/jpeg', 0.7]].slice(file.type === 'image/png' ? 0 : 1)) {
      const blob = await new Promise((done) => canvas.toBlob(done, type, quality))
      if (!blob || blob.size > 1e6) continue
      const list = new DataTransfer()
      list.items.add(new File([blob], file.name, { type }))
      if (input.files[0] === file) input.files = list.files
      return
    }
  })
}

// On a narrow screen the menu is a strip: the page that is open is in sight.
document.querySelector('.side [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' })

// A form is sent once, and a password that was looked at is hidden again, so that browsers know it as one.
for (const form of all('form')) {
  form.addEventListener('submit', (event) => {
    if (form.dataset.sent) return event.preventDefault()
    form.dataset.sent = 'yes'
    for (const b of form.querySelectorAll('[data-reveal]')) document.getElementById(b.dataset.reveal).type = 'password'
    event.submitter?.setAttribute('aria-busy', 'true')
  })
}
addEventListener('pageshow', () => { // also when somebody comes back to a page that was kept
  for (const form of all('form')) {
    delete form.dataset.sent
    for (const b of form.querySelectorAll('[aria-busy]')) b.removeAttribute('aria-busy')
  }
})

// What gives much away is not clicked by surprise: a double click that began on another page, or in a window in front that has closed in between, ends here in nothing.
for (const button of all('[data-calm]')) {
  let timer
  const wait = () => {
    button.style.pointerEvents = 'none'
    clearTimeout(timer)
    timer = setTimeout(() => { button.style.pointerEvents = '' }, 500)
  }
  for (const sight of ['pageshow', 'focus', 'visibilitychange']) addEventListener(sight, wait)
  wait()
}

// While somebody types, the server is asked whether it would do.
for (const input of all('[data-check]')) {
  const out = document.getElementById(input.id + '-checked')
  let timer, asked = 0
  const check = async () => {
    const mine = ++asked
    const query = new URLSearchParams(new FormData(input.form))
    for (const key of [...query.keys()]) if (!['handle', 'domain', 'lang'].includes(key)) query.delete(key)
    const response = await fetch(input.dataset.check + '?' + query, { headers: { Accept: 'application/json' } }).catch(() => null)
    if (mine !== asked) return
    const answer = response?.ok ? await response.json() : { text: '' }
    out.textContent = answer.text
    out.className = 'checked ' + (answer.good ? 'good' : 'bad')
  }
  const later = () => {
    clearTimeout(timer)
    asked++
    out.textContent = ''
    if (input.value.length > 2) timer = setTimeout(check, 350)
  }
  input.addEventListener('input', later)
  for (const select of input.form.querySelectorAll('select')) select.addEventListener('change', later)
}

// A menu closes with Escape and with a click beside it.
for (const menu of all('details.menu')) {
  menu.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return
    menu.open = false
    menu.querySelector('summary').focus()
  })
  addEventListener('click', (event) => { if (!menu.contains(event.target)) menu.open = false })
}

// A move tells how far it has come. Screen readers hear of it every ten seconds at most. When something else is to be shown, the page is loaded again.
for (const box of all('[data-progress]')) {
  const bar = box.querySelector('progress'), said = box.querySelector('[role=status]')
  let last = Date.now()
  const look = async () => {
    const response = await fetch(box.dataset.progress).catch(() => null)
    const now = response?.ok ? await response.json() : null
    if (response?.status === 404 || now && now.key !== box.dataset.key) return location.replace(location.pathname) // and not again the form that may have led here
    if (now) {
      const line = box.querySelector('.line')
      if (line.textContent !== now.line) line.textContent = now.line
      if (bar.hasAttribute('value')) { bar.max = now.of || 1; bar.value = now.done }
      if (Date.now() - last > 1e4 && said.textContent !== now.line) { said.textContent = now.line; last = Date.now() }
    }
    setTimeout(look, 1500)
  }
  setTimeout(look, 1000)
}

// What changes by itself is fetched anew, unless somebody is at it or away.
for (const part of all('[data-refresh]')) {
  setInterval(async () => {
    if (document.hidden || part.contains(document.activeElement)) return
    const response = await fetch(part.dataset.refresh).catch(() => null)
    if (!response?.ok || response.redirected) return
    const open = [...part.querySelectorAll('details')].map((d) => d.open)
    part.innerHTML = await response.text()
    part.querySelectorAll('details').forEach((d, i) => { d.open = open[i] })
  }, 10_000)
}

// A form that only carries an answer on to the next site sends itself.
document.querySelector('form[data-send]')?.submit()
