// Every device, where it is and what it is doing: the page's own copy, kept up to date by events.

/** @typedef {{id: string, number: number, kind: string, district: string, position: [number, number] | null, state: string, time: number, alert: string | null}} Device */

const SEVERITIES = ["info", "warning", "critical"];

export class Fleet {
  /** @type {Map<string, Device>} */
  #devices = new Map();
  /** @type {Map<number, Device>} A number is given once: what a map still knows of one that has gone is no other's. */
  #byNumber = new Map();
  #next = 0;
  #isMoved = false;
  /** @type {Map<string, string>} */
  #alerts = new Map();

  /** The devices that have a position. */
  places() {
    return [...this.#byNumber.values()].filter((device) => device.position);
  }

  /** Those that a map shows otherwise than as one that reports. */
  unwell() {
    return this.places().filter((device) => device.state !== "reporting" || device.alert);
  }

  at(/** @type {number} */ number) {
    return this.#byNumber.get(number) ?? null;
  }

  /** Return those of some devices that have a position. */
  find(/** @type {string[]} */ ids) {
    return ids.flatMap((id) => this.#devices.get(id) ?? []).filter((device) => device.position);
  }

  /** Take a page of `GET /api/v1/state/devices`; return the devices that look different now, or are new and not well. */
  take(/** @type {any} */ page) {
    const changed = [];
    for (const [place, id] of page.device.entries()) {
      const device = this.#devices.get(id) ?? this.#add(id);
      if (device.state !== page.state[place]) changed.push(device);
      device.kind = page.kind[place];
      device.district = page.district[place];
      const [longitude, latitude] = [page.longitude[place], page.latitude[place]];
      if (longitude !== (device.position?.[0] ?? null) || latitude !== (device.position?.[1] ?? null)) {
        device.position = longitude === null ? null : [longitude, latitude];
        this.#isMoved = true;
      }
      device.state = page.state[place];
      device.time = page.reading_time[place] ? Date.parse(page.reading_time[place]) : 0;
      device.alert = this.#alerts.get(id) ?? null;
    }
    return changed;
  }

  /** End a round of all pages, which had these devices; return whether points are others, or elsewhere, than before. */
  settle(/** @type {Set<string>} */ ids) {
    for (const device of this.#byNumber.values()) {
      if (ids.has(device.id)) continue;
      this.#devices.delete(device.id);
      this.#byNumber.delete(device.number);
      this.#isMoved = true;
    }
    const isMoved = this.#isMoved;
    this.#isMoved = false;
    return isMoved;
  }

  #add(/** @type {string} */ id) {
    const device = /** @type {Device} */ ({ id, number: this.#next++, kind: "", district: "", position: null, state: "reporting", time: 0, alert: null });
    this.#devices.set(id, device);
    this.#byNumber.set(device.number, device);
    return device;
  }

  /** Take readings; which devices look different by them, the stream says by itself. */
  arrived(/** @type {any[]} */ readings) {
    for (const { device: id, time } of readings) {
      const device = this.#devices.get(id);
      if (device) device.time = Math.max(device.time, Date.parse(time));
    }
  }

  /** Take devices that came, or fell silent: by their last wills at once, or when a reading was overdue. */
  connected(/** @type {any[]} */ devices) {
    const changed = [];
    for (const { device: id, status } of devices) {
      const device = this.#devices.get(id);
      const state = status === "offline" ? "silent" : "reporting";
      if (!device || device.state === "disabled" || device.state === state) continue;
      device.state = state;
      changed.push(device);
    }
    return changed;
  }

  /** Take all open alerts; return the devices that look different now. */
  alert(/** @type {any[]} */ alerts) {
    /** @type {Map<string, string>} */
    const worst = new Map();
    for (const { device, severity } of alerts) {
      if (device && SEVERITIES.indexOf(severity) > SEVERITIES.indexOf(worst.get(device) ?? "")) worst.set(device, severity);
    }
    this.#alerts = worst;
    const changed = [...this.#byNumber.values()].filter((device) => device.alert !== (worst.get(device.id) ?? null));
    for (const device of changed) device.alert = worst.get(device.id) ?? null;
    return changed;
  }
}
