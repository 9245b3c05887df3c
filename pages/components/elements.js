// What components share: making elements, keys that lead from one to the next, links to pages, and packed numbers.

function made(tag, properties) {
  return Object.assign(document.createElement(tag), properties)
}

function move_focus(event, next) {
  event.preventDefault()
  event.target.tabIndex = -1 // one element of a group is in the order of the Tab key
  next.tabIndex = 0
  next.focus()
}

function walk(event, elements) {
  const place = elements.indexOf(event.target)
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
  const next = { Home: elements[0], End: elements.at(-1) }[event.key] ?? elements[place + step]
  if (place >= 0 && next) move_focus(event, next)
}

// A link that leads to another page without loading the app anew.
function follow(event, href) {
  // The way that the browser's Back button takes, so that the session goes on. `st.switch_page` is refused while the
  // address has parameters of widgets. With Ctrl and the like, the browser opens a tab or a window as everywhere.
  if (event.ctrlKey || event.metaKey || event.shiftKey) return
  event.preventDefault()
  history.pushState({}, "", href)
  window.dispatchEvent(new PopStateEvent("popstate"))
}

// Numbers that arrive packed: the bytes of an array as base64.
function unpack(text, Kind) {
  const letters = atob(text), bytes = new Uint8Array(letters.length)
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i)
  return new Kind(bytes.buffer)
}
