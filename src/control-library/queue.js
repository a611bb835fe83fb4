"use strict"

/* Callers that wait for agents. Each caller is answered and waits; who waits longest is offered to all agents that are
   free, and the first to answer has the call. */

const RETRY_MS = 5000

const queues = new Map()

class Queue {
  constructor( name ) {
    this.name = name
    this.calls = []
    this.list = []
    this.callbacks = []
    /* How long after nobody answered they are called again, in milliseconds. */
    this.retry = RETRY_MS
  }

  /* Users that answer: `{ user, domain? }`. */
  get agents() {
    return this.list
  }

  set agents( agents ) {
    this.list = agents.map( ( agent ) => ( { user: agent.user, domain: agent.domain, isFree: true } ) )
    this.serve()
  }

  /* Those who wait, the longest first. */
  get waiting() {
    return [ ...this.calls ]
  }

  /* Called with a caller whose place has changed. An assignment adds one. */
  set onpositionchange( callback ) {
    this.callbacks.push( callback )
  }

  /* Puts a caller at the end. */
  queue( call ) {
    if ( this.calls.includes( call ) || call.hungup ) return
    call.waits = true
    call.metadata.queue = { state: "waiting", position: 0 }
    this.calls.push( call )
    call.onhangup = () => {
      if ( this.remove( call ) ) call.metadata.queue.state = "abandoned"
    }
    call.answer()
    this.place()
    this.serve()
  }

  /* Takes the first caller off, for a script that finds somebody itself. */
  take() {
    const call = this.calls[ 0 ]
    if ( !call ) return undefined
    this.remove( call )
    call.waits = false
    call.metadata.queue.state = "talking"
    return call
  }

  remove( call ) {
    const at = this.calls.indexOf( call )
    if ( at < 0 ) return false
    this.calls.splice( at, 1 )
    this.place()
    return true
  }

  place() {
    this.calls.forEach( ( call, index ) => {
      const position = index + 1
      if ( call.metadata.queue.position === position ) return
      call.metadata.queue.position = position
      for ( const callback of this.callbacks ) callback.call( call, call )
    } )
  }

  serve() {
    for ( const call of this.waiting ) {
      const free = this.list.filter( ( agent ) => agent.isFree )
      if ( 0 === free.length ) return
      if ( !call.isOffered ) this.offer( call, free )
    }
  }

  retried() {
    try {
      this.serve()
    } catch ( error ) {
      console.error( error )
    }
  }

  offer( call, agents ) {
    call.isOffered = true
    // Of those who were called before nothing is told any more.
    call.failures = []
    const asked = agents.map( ( agent ) => ( { to: { user: agent.user, ...( agent.domain && { domain: agent.domain } ) } } ) )
    const children = call.newcall( asked )
    let left = children.length
    children.forEach( ( child, index ) => {
      const agent = agents[ index ]
      agent.isFree = false
      child.onanswer = () => {
        if ( !this.remove( call ) ) return
        call.metadata.queue.state = "talking"
        call.waits = false
      }
      child.onhangup = () => {
        agent.isFree = true
        left -= 1
        if ( 0 === left ) call.isOffered = false
        // Whoever talked is free for the next caller; whoever did not answer is left alone for a while.
        if ( child.answered ) return this.serve()
        if ( 0 === left ) setTimeout( () => this.retried(), this.retry ).unref()
      }
    } )
  }
}

/* The queue of a name; the first who asks for it makes it. */
function find( name ) {
  if ( !queues.has( name ) ) queues.set( name, new Queue( name ) )
  return queues.get( name )
}

module.exports = { find, Queue }
