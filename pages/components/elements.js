// What components share that make elements and let keys lead from one to the next.

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
