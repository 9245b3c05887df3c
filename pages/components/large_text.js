// Text that can be read from afar.
export default function (component) {
  const element = component.parentElement.querySelector("p")
  element.className = component.data.size
  element.setAttribute("role", component.data.size === "title" ? "heading" : "paragraph")
  if (component.data.size === "title") element.setAttribute("aria-level", "1")
  element.textContent = component.data.text
}
