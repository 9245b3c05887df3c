// A gallery: one button or link an example.

function fill(element, words, marked) {
  // Words shared with the explained text are marked; all text goes in as text, never as HTML.
  for (const part of words.split(/([\p{L}\p{N}_]+)/u)) {
    if (marked.has(part.toLowerCase())) {
      element.append(made("mark", { textContent: part }))
    } else {
      element.append(part)
    }
  }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".gallery")
  root.className = data.strip ? "gallery strip" : "gallery"
  root.setAttribute("role", "group")
  root.setAttribute("aria-label", data.label)
  const is_text = data.items.some((item) => item.media.some((medium) => !medium.image))
  root.style.setProperty("--cell", (is_text ? 150 : data.size + 10) + "px")
  root.replaceChildren()
  const current = Math.max(0, data.items.findIndex((item) => item.id === data.selected))
  const buttons = data.items.map((item, place) => {
    const button = item.href ? made("a", { href: item.href }) : made("button", { type: "button" })
    const add = (kind, words) => words && button.append(made("div", { className: kind, textContent: words }))
    button.tabIndex = place === current ? 0 : -1
    button.setAttribute("aria-label", item.name)
    if (!item.href) button.setAttribute("aria-pressed", String(item.id === data.selected))
    button.title = item.name
    button.dataset.id = item.id
    for (const medium of item.media) {
      if (medium.image) {
        button.append(made("img", { src: medium.image, alt: medium.text, width: data.size, height: data.size }))
        continue
      }
      const text = made("div", { className: "text" })
      text.style.width = data.strip ? data.size * 2 + "px" : "100%"
      // Alone, texts are as high as pictures; beside other media they take what they need, up to that.
      text.style[item.media.length > 1 ? "maxHeight" : "height"] =
        (data.strip ? data.size : Math.max(data.size, 82)) + "px"
      fill(text, medium.text, new Set(data.marked))
      button.append(text)
    }
    add("score " + item.side, item.score)
    add(item.other ? "caption other" : "caption", item.caption)
    add("badge", item.badge)
    if (item.chosen) button.classList.add("chosen")
    // With the Alt key, or P on the keyboard, an example is put aside rather than opened.
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
