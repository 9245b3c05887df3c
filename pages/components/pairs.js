// Pairs of a train example and a test example, each pair a link.
export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".pairs")
  root.setAttribute("role", "group")
  root.setAttribute("aria-label", data.label)
  const has_text = data.pairs.some((pair) => pair.train.media.some((medium) => !medium.image))
  root.style.setProperty("--cell", has_text ? "230px" : "118px")
  const box = (kind, text) => made("div", { className: kind, textContent: text })
  const face = (shown) => {
    const all = box("", "")
    for (const { image, text } of shown.media) all.append(image ? made("img", { src: image, alt: text }) : box("text", text))
    return all
  }
  const links = data.pairs.map((pair, place) => {
    const link = made("a", { href: pair.address, className: data.side, title: pair.name, ariaLabel: pair.name })
    link.onclick = (event) => follow(event, pair.address)
    link.tabIndex = place ? -1 : 0
    link.append(face(pair.train), box("arrow", "→"), face(pair.test))
    link.append(box("idx", "train " + pair.train.idx), box("", ""), box("idx", "test " + pair.test.idx))
    link.append(box("score", pair.score))
    return link
  })
  root.onkeydown = (event) => walk(event, links)
  root.replaceChildren(...links)
}
