/** Which of the things that arrive are of now: this server, this recording, this version. */

/** A state with everything that is not of the current recording taken out. */
export class Current {
  constructor() {
    this.forget();
  }

  /** Nothing is current until a whole state comes. */
  forget() {
    this.state = null;
  }

  /**
   * Take a state.
   * @returns {boolean} False if it is older than what is there; it is then dropped.
   */
  take(state) {
    const before = this.state;
    if (before && state.server === before.server && state.version < before.version) return false;
    this.state = state;
    return true;
  }

  /** Whether a sign of life is of the server whose state is shown. */
  isAlive(life) {
    return this.state !== null && life.server === this.state.server;
  }

  /** Whether a piece of traces belongs to the recording that is shown. */
  isOfThisRecording(trace) {
    const recording = this.state && this.state.recording;
    return Boolean(recording) && recording.id === trace.recording;
  }

  /** The result, if the state is to show one and it is of the recording at hand. */
  get result() {
    const state = this.state;
    if (!state || state.screen !== "result" || !state.result) return null;
    if (state.recording && state.recording.id !== state.result.recording) return null;
    return state.result;
  }
}
