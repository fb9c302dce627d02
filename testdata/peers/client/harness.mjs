// What the client tests share: the server under test, agents whose every answer is judged by the client's own lexicons, and a
// journal of the writes that were acknowledged, to be compared with the firehose.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { AtpAgent, jsonToLex, lexicons } from '@atproto/api'
import { IdResolver } from '@atproto/identity'

export const service = process.env.PEERS_URL ?? 'http://localhost:2583'
export const plcURL = process.env.PEERS_PLC_URL ?? 'http://localhost:2582'
const adminPassword = process.env.PEERS_ADMIN_PASSWORD ?? 'admin'

/** reference is true when the server under test is the reference PDS, which some tests are known to be too much for. */
export const reference = process.env.PEERS_TARGET === 'reference'

/** skipOnReference gives the options of a test that the reference does not pass, with the reason. */
export const skipOnReference = (reason) => ({ skip: reference && `the reference: ${reason}` })

/** ids resolves DIDs at the PLC directory of the run. Its fetch is the plain one, because everything here is on localhost. */
export const ids = new IdResolver({ plcUrl: plcURL, fetch: globalThis.fetch })

/** violations holds every answer that the lexicons or the rules of XRPC do not allow. The last test wants it empty. */
export const violations = []

/** journal holds the acknowledged commits in order: {did, cid, rev, ops: [{action, path, cid}]}. */
export const journal = []

/** created holds the DIDs of the accounts made, in order. */
export const created = []

const writes = new Set(['createRecord', 'putRecord', 'deleteRecord', 'applyWrites'].map((n) => `com.atproto.repo.${n}`))

// judgedFetch is fetch for agents.
const judgedFetch = async (input, init) => {
  const request = new Request(input, init)
  const sent = request.clone()
  const response = await fetch(request)
  const method = new URL(request.url).pathname.replace(/^\/xrpc\//, '')
  const problem = await judge(method, response.clone())
  if (problem) {
    violations.push(`${request.method} ${method}: ${response.status}: ${problem}`)
    throw new Error(violations.at(-1))
  }
  if (response.ok && writes.has(method)) await note(method, await sent.json(), await response.clone().json())
  return response
}

// judge says what is wrong with an answer, or nothing.
const judge = async (method, response) => {
  const def = lexicons.getDefOrThrow(method, ['query', 'procedure'])
  const type = response.headers.get('content-type')?.split(';')[0]
  if (!response.ok) {
    if (response.status >= 500) return `server error: ${await response.text()}`
    if (type !== 'application/json') return `error of type ${type}`
    const { error, message } = await response.json()
    return typeof error === 'string' && typeof message === 'string' ? undefined : 'error without name or message'
  }
  const encoding = def.output?.encoding
  if (encoding && encoding !== '*/*' && encoding !== type) return `type ${type} where ${encoding} is due`
  if (encoding === 'application/json') {
    try {
      lexicons.assertValidXrpcOutput(method, jsonToLex(await response.json()))
    } catch (err) {
      return err.message
    }
  }
  if (!encoding && (await response.text()) !== '') return 'a body where none is due'
}

const pathOf = (uri) => uri.split('/').slice(3).join('/')

// note puts an acknowledged write into the journal.
const note = async (method, input, output) => {
  if (!output.commit) return // Nothing changed.
  const ops = {
    createRecord: () => [{ action: 'create', path: pathOf(output.uri), cid: output.cid }],
    putRecord: () => [{ path: pathOf(output.uri), cid: output.cid }],
    deleteRecord: () => [{ action: 'delete', path: `${input.collection}/${input.rkey}` }],
    applyWrites: () =>
      input.writes.map((write, i) => ({
        action: write.$type.replace('com.atproto.repo.applyWrites#', ''),
        path: output.results[i].uri ? pathOf(output.results[i].uri) : `${write.collection}/${write.rkey}`,
        cid: output.results[i].cid,
      })),
  }[method.replace('com.atproto.repo.', '')]()
  journal.push({ did: input.repo, ...output.commit, ops })
}

/** newAgent gives an agent without a session. */
export const newAgent = (options) => new AtpAgent({ service, fetch: judgedFetch, ...options })

let description
/** describe asks the server for its description, once. */
export const describe = async () => (description ??= (await newAgent().com.atproto.server.describeServer()).data)

/** invitation gives an account's input an invite code, where the server wants one. */
export const invitation = async () => {
  if (!(await describe()).inviteCodeRequired) return {}
  const { data } = await newAgent().com.atproto.server.createInviteCode(
    { useCount: 1 },
    { headers: { authorization: `Basic ${btoa(`admin:${adminPassword}`)}` }, encoding: 'application/json' },
  )
  return { inviteCode: data.code }
}

/** freshName gives a name for an account that no earlier run has used. */
export const freshName = (name) => `${name}-${randomBytes(4).toString('hex')}`

/** signUp makes an account on the server and gives its agent, signed in, with the account's data added. */
export const signUp = async (name) => {
  const { availableUserDomains } = await describe()
  const local = freshName(name)
  const account = {
    handle: local + availableUserDomains[0],
    email: `${local}@example.com`,
    password: `password of ${local}`,
    ...(await invitation()),
  }
  const agent = newAgent()
  const { data } = await agent.createAccount(account)
  assert.equal(data.handle, account.handle)
  assert.match(data.did, /^did:plc:[a-z2-7]{24}$/)
  created.push(data.did)
  return Object.assign(agent, { account: { ...account, did: data.did } })
}

/** fails expects a promise to be rejected as an XRPC error with this status and one of these names. */
export const fails = (promise, status, ...names) =>
  assert.rejects(promise, (err) => {
    assert.deepEqual([err.status, names.includes(err.error) ? names : err.error], [status, names], err.message)
    return true
  })

/** raw asks the server directly, without an agent. */
export const raw = (path, init) => fetch(new URL(path, service), init)

/** sortedJSON gives a value's JSON with sorted keys, to compare by. */
export const sortedJSON = (value) =>
  JSON.stringify(value, (_, v) =>
    v && typeof v === 'object' && !Array.isArray(v) && !v.toJSON
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  )

/** png gives a valid image of the size, in one colour, and a little different for each seed. */
export const png = async (seed = 0) => {
  const { default: zlib } = await import('node:zlib')
  const crc = (bytes) => {
    const out = Buffer.alloc(4)
    out.writeUInt32BE(zlib.crc32(bytes))
    return out
  }
  const chunk = (type, data) => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(data.length)
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
    return Buffer.concat([length, body, crc(body)])
  }
  const header = Buffer.from([0, 0, 0, 16, 0, 0, 0, 16, 8, 2, 0, 0, 0])
  const row = Buffer.concat([Buffer.from([0]), Buffer.alloc(48, seed % 256)])
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('tEXt', Buffer.from(`Comment\0${randomBytes(600).toString('hex')}`)),
    chunk('IDAT', zlib.deflateSync(Buffer.concat(Array(16).fill(row)))),
    chunk('IEND', Buffer.alloc(0)),
  ])
}
