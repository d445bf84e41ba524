// A site that is read from the disk may start no worker, so the one of the search runs in a hidden frame.
if (location.protocol === "file:")
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(script) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.srcdoc = `<script src="${script}"></script>`
      this.loaded = new Promise(resolve => frame.addEventListener("load", () => {
        frame.contentWindow.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
        resolve(frame.contentWindow)
      }))
      document.body.append(frame)
    }

    async postMessage(data) {
      (await this.loaded).dispatchEvent(new MessageEvent("message", { data }))
    }
  }
