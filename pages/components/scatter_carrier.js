// Keeps packed numbers for the map of the same name; a message of its own, so that it is sent when it changes only.
const KINDS = { xy: Float32Array, labels: Uint16Array, codes: Uint16Array, values: Float32Array }

export default function (component) {
  const { data, parentElement } = component
  const host = parentElement.host ?? parentElement
  host.style.display = "none"
  const unpacked = { ...data }
  for (const [name, Kind] of Object.entries(KINDS)) if (data[name] != null) unpacked[name] = unpack(data[name], Kind)
  window.trakScatter = { ...window.trakScatter, [data.name]: unpacked }
  window.dispatchEvent(new CustomEvent("trak-scatter", { detail: data.for }))
}
