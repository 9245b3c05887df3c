// Opens the help panel by click, or by the key `?` outside of fields.
export default function (component) {
  const { parentElement, setTriggerValue } = component
  parentElement.querySelector("button").onclick = () => setTriggerValue("opened", true)
  const asked = (event) => {
    const inside = event.composedPath()[0]
    const is_field = inside instanceof HTMLElement && inside.matches("input, textarea, select, [contenteditable=true]")
    if (event.key === "?" && !is_field) setTriggerValue("opened", true)
  }
  document.addEventListener("keydown", asked)
  return () => document.removeEventListener("keydown", asked)
}
