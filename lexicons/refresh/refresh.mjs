// refresh.mjs rewrites lexicons/schemas from two pinned sources:
//
//   - the npm package @atproto/api (its generated client holds every schema of
//     com.atproto, app.bsky, chat.bsky, tools.ozone and com.germnetwork), and
//   - the lexicons folder of the indigo module, for what the first lacks
//     (site.standard).
//
// Usage: make lexicons. It wants node and npm.
// The output depends on the two versions alone, so a second run changes nothing.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const API_VERSION = '0.21.0'
const INDIGO = 'github.com/bluesky-social/indigo'
const OUT = path.join(import.meta.dirname, '..', 'schemas')

function run(cmd, args, cwd) {
  return execFileSync(cmd, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
}

// fromApi reads the schema dictionary of the client without installing what it depends on.
function fromApi(dir) {
  run('npm', ['pack', '--silent', `@atproto/api@${API_VERSION}`], dir)
  run('tar', ['xzf', `atproto-api-${API_VERSION}.tgz`], dir)
  const src = fs.readFileSync(path.join(dir, 'package/dist/client/lexicons.js'), 'utf8')
  const start = src.indexOf('schemaDict = {') + 'schemaDict = '.length
  const end = src.indexOf('\n};', start) + 2
  const dict = new Function(`return (${src.slice(start, end)})`)()
  return Object.values(dict)
}

function fromIndigo() {
  const top = path.join(run('go', ['list', '-m', '-f', '{{.Dir}}', INDIGO]), 'lexicons')
  const docs = []
  for (const name of fs.readdirSync(top, { recursive: true }).sort()) {
    if (name.endsWith('.json')) docs.push(JSON.parse(fs.readFileSync(path.join(top, name), 'utf8')))
  }
  return docs
}

// plain undoes what the client generator adds: references carry a "lex:" prefix there, and
// those inside one document are spelled in full.
function plain(v, id) {
  if (Array.isArray(v)) return v.map((x) => plain(x, id))
  if (v && typeof v === 'object') {
    return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, k === 'description' ? x : plain(x, id)]))
  }
  if (typeof v !== 'string' || !v.startsWith('lex:')) return v
  const ref = v.slice('lex:'.length)
  return ref.startsWith(`${id}#`) ? ref.slice(id.length) : ref
}

function write(docs) {
  fs.rmSync(OUT, { recursive: true, force: true })
  const index = []
  for (const id of [...docs.keys()].sort()) {
    const doc = docs.get(id)
    const file = path.join(OUT, ...id.split('.')) + '.json'
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(file, JSON.stringify(doc, null, 1) + '\n')
    index.push(`${doc.defs.main?.type ?? 'defs'} ${id}`)
  }
  fs.writeFileSync(path.join(OUT, 'INDEX'), index.join('\n') + '\n')
  return index.length
}

const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'lexicons-'))
try {
  const docs = new Map()
  for (const doc of fromIndigo()) docs.set(doc.id, doc)
  for (const doc of fromApi(tmp)) docs.set(doc.id, plain(doc, doc.id))
  console.log(`${write(docs)} schemas: @atproto/api ${API_VERSION}, indigo ${run('go', ['list', '-m', '-f', '{{.Version}}', INDIGO])}`)
} finally {
  fs.rmSync(tmp, { recursive: true, force: true })
}
