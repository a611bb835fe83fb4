/** Callers that wait for agents. */

import { Call } from "moqswitch-control"

/** The queue of a name; the first who asks for it makes it. */
export function find( name: string ): Queue

export class Queue {
  readonly name: string
  /** How long after nobody answered agents are called again, in milliseconds. */
  retry: number
  /** Users that answer. */
  get agents(): { user: string, domain?: string, isFree: boolean }[]
  set agents( agents: { user: string, domain?: string }[] )
  /** Those who wait, the longest first. */
  readonly waiting: Call[]
  /** An assignment adds one; each is called whenever a caller's place changes. */
  set onpositionchange( callback: ( this: Call, call: Call ) => void )
  /** Answers a caller and puts it at the end. */
  queue( call: Call ): void
  /** Takes the first caller off, for a script that finds somebody itself. */
  take(): Call | undefined
}
