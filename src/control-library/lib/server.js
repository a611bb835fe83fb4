"use strict"

const http = require( "http" )

/* A request of the switch has no more bytes. */
const BODY_BYTES_MAX = 1024 * 1024

/* The server that the switch tells of calls and registrations. */
function create( control ) {
  const server = http.createServer( ( request, response ) => {
    let text = ""
    request.setEncoding( "utf8" )
    request.on( "data", ( part ) => {
      text += part
      if ( BODY_BYTES_MAX < text.length ) {
        answer( response, 413 )
        request.destroy()
      }
    } )
    request.on( "end", () => {
      if ( !response.writableEnded ) take( control, request, text, response )
    } )
    request.on( "error", () => {} )
  } )
  return server
}

function take( control, request, text, response ) {
  let body = {}
  try {
    if ( "" !== text.trim() ) body = JSON.parse( text )
    if ( null === body || "object" !== typeof body || Array.isArray( body ) ) return answer( response, 400 )
  } catch {
    return answer( response, 400 )
  }

  let path
  try {
    path = request.url.split( "?" )[ 0 ].split( "/" ).filter( Boolean ).map( decodeURIComponent )
  } catch {
    return answer( response, 400 )
  }

  const done = ( code, json ) => answer( response, code, json )
  try {
    dispatch( control, request.method, path, body, done )
  } catch ( error ) {
    // A script's fault ends its call, and no other.
    console.error( error )
    done( 500 )
  }
}

function dispatch( control, method, path, body, done ) {
  const isChange = "PUT" === method || "POST" === method
  const [ first, ...rest ] = path
  if ( "dialog" === first && 1 === rest.length && isChange ) return control.takeDialog( rest[ 0 ], body, done )
  if ( "calls" === first && 0 === rest.length && "GET" === method ) return done( 200, [ ...control.calls.keys() ] )
  if ( "invite" === first && 0 === rest.length && isChange ) return control.takeInvite( body, done )
  if ( "reg" === first && rest.length <= 2 && ( isChange || "DELETE" === method ) ) {
    const [ domain = body.domain, user = body.user ] = rest
    return control.takeRegistration( isChange, Object.assign( {}, body, { domain, user } ), done )
  }
  done( 404 )
}

function answer( response, code, json ) {
  if ( response.writableEnded ) return
  response.writeHead( code, { "Content-Type": "text/json" } )
  response.end( undefined === json ? "" : JSON.stringify( json ) )
}

module.exports = { create }
