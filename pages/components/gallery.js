// A gallery: one button or link an example.

function fill(element, medium) {
  // Every second part is a word shared with the explained text; all text goes in as text, never as HTML.
  medium.parts?.forEach((part, i) => element.append(i % 2 ? made("mark", { textContent: part }) : part))
  if (medium.coloured && medium.text) element.append(made("small", { textContent: medium.text + ": " }))
  medium.coloured?.forEach(([words, colour]) => {
    if (colour === null) return element.append(words)
    const mark = made("mark", { className: "weighed", textContent: words })
    mark.style.background = colour
    element.append(mark)
  })
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".gallery")
  root.className = data.strip ? "gallery strip" : "gallery"
  root.setAttribute("role", "group")
  root.setAttribute("aria-label", data.label)
  const is_text = data.items.some((item) => item.media.some((medium) => !medium.image))
  const has_pairs = data.items.some((item) => item.pair)
  const is_marked = data.items.some((item) => item.media.some((medium) => medium.coloured))
  const [wide, narrow] = has_pairs || is_marked ? [230, 118] : [150, data.size + 10]
  root.style.setProperty("--cell", (is_text ? wide : narrow) + "px")
  root.replaceChildren()
  const shown = (media) => media.map((medium) => {
    if (medium.image) return made("img", { src: medium.image, alt: medium.text, width: data.size, height: data.size })
    const text = made("div", { className: "text" })
    fill(text, medium)
    if (has_pairs || medium.coloured) return text
    text.style.width = data.strip ? data.size * 2 + "px" : "100%"
    // In a strip, texts alone are as high as pictures; elsewhere they take what they need, up to that.
    text.style[media.length > 1 || !data.strip ? "maxHeight" : "height"] = (data.strip ? data.size : Math.max(data.size, 82)) + "px"
    return text
  })
  const box = (kind, ...content) => {
    const made_of = made("div", { className: kind })
    made_of.append(...content)
    return made_of
  }
  const current = Math.max(0, data.items.findIndex((item) => item.id === data.selected))
  const buttons = data.items.map((item, place) => {
    const button = item.href ? made("a", { href: item.href }) : made("button", { type: "button" })
    const add = (kind, words) => words && button.append(box(kind, words))
    button.tabIndex = place === current ? 0 : -1
    button.setAttribute("aria-label", item.name)
    if (!item.href) button.setAttribute("aria-pressed", String(item.id === data.selected))
    button.title = item.name
    button.dataset.id = item.id
    if (item.pair) {
      const faces = [box("", ...shown(item.media)), "→", box("", ...shown(item.pair.media))]
      button.append(box("pair", ...faces, box("", "train " + item.id), box("", ""), box("", "test " + item.pair.id)))
    } else button.append(...shown(item.media))
    add("score " + item.side, item.score)
    add(item.other ? "caption other" : "caption", item.caption)
    add("badge", item.badge)
    if (item.chosen) button.classList.add("chosen")
    // With the Alt key, or P on the keyboard, an example is picked rather than opened.
    button.onclick = (event) => {
      if (event.altKey && data.can_choose) setTriggerValue("chosen", item.id)
      else if (!item.href) setTriggerValue("picked", item.id)
      else follow(event, item.href)
    }
    root.append(button)
    return button
  })
  root.onkeydown = (event) => {
    if (event.key.toLowerCase() === "p" && data.can_choose && event.target.dataset.id !== undefined) {
      event.stopPropagation()
      setTriggerValue("chosen", Number(event.target.dataset.id))
    } else walk(event, buttons)
  }
  if (data.strip && buttons[current]) {
    const button = buttons[current]
    root.scrollLeft = button.offsetLeft - root.offsetLeft - root.clientWidth / 2 + button.offsetWidth / 2
  }
}
