// The entry: one browser and one server of apps for all tests.
import { after, before } from 'node:test'
import { closeBrowser, openBrowser } from './people.mjs'
import { closeSite, openSite } from './site.mjs'
import './node.mjs'
import './browser.mjs'
import './go.mjs'
import './attack.mjs'
import './pages.mjs'
import './names.mjs'

before(async () => {
  await openSite()
  await openBrowser()
})
after(async () => {
  await closeBrowser()
  closeSite()
})
