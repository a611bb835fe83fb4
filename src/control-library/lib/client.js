"use strict"

const http = require( "http" )

/* How long the switch has to answer. */
const WAIT_MS = 10000

/* An answer of the switch has no more bytes. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024

/**
 * One request to the switch. The callback is called once, with `{ code, message, json }`; without a connection the code
 * is 500.
 */
function request( server, path, method, body, key, callback ) {
  let isDone = false
  const done = ( answer ) => {
    if ( isDone ) return
    isDone = true
    try {
      callback( answer )
    } catch ( error ) {
      // One script's fault is not the end of the others' calls.
      console.error( error )
    }
  }

  const text = undefined === body ? "" : JSON.stringify( body )
  const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength( text ) }
  if ( key ) headers.Authorization = `Bearer ${key}`

  const asked = http.request( { host: server.host, port: server.port, path, method, headers }, ( response ) => {
    let answer = ""
    response.setEncoding( "utf8" )
    response.on( "data", ( part ) => {
      answer += part
      if ( ANSWER_BYTES_MAX < answer.length ) asked.destroy( new Error( "the answer is too long" ) )
    } )
    response.on( "error", ( error ) => done( { code: 500, message: error.message } ) )
    response.on( "end", () => {
      let json = {}
      try {
        if ( "" !== answer ) json = JSON.parse( answer )
      } catch {
        return done( { code: 500, message: "The answer is no JSON" } )
      }
      done( { code: response.statusCode, message: response.statusMessage, json } )
    } )
  } )
  asked.setTimeout( WAIT_MS, () => asked.destroy( new Error( "the switch does not answer" ) ) )
  asked.on( "error", ( error ) => done( { code: 500, message: error.message } ) )
  asked.end( text )
}

module.exports = { request }
