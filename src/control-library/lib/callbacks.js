"use strict"

/* Callbacks stack: each assignment adds one. Those of a call are called once and are gone; those of the library stay. */

class Callbacks {
  constructor( names ) {
    this.lists = new Map( names.map( ( name ) => [ name, [] ] ) )
  }

  add( name, callback ) {
    if ( "function" !== typeof callback ) throw new TypeError( `${name} takes a function` )
    this.lists.get( name ).push( callback )
  }

  has( name ) {
    return 0 < this.lists.get( name ).length
  }

  /* Calls all of a kind: `this` and the argument are the call. */
  fire( name, call, ...more ) {
    for ( const callback of [ ...this.lists.get( name ) ] ) callback.call( call, call, ...more )
  }

  /* The same, and then they are gone. */
  once( name, call, ...more ) {
    const list = this.lists.get( name ).splice( 0 )
    for ( const callback of list ) callback.call( call, call, ...more )
  }
}

/* Gives a class a setter for each name, which adds. */
function stacked( type, names, added = () => {} ) {
  for ( const name of names ) {
    Object.defineProperty( type.prototype, name, {
      configurable: true,
      get() {
        return [ ...this.callbacks.lists.get( name ) ]
      },
      set( callback ) {
        this.callbacks.add( name, callback )
        added.call( this, name )
      }
    } )
  }
}

module.exports = { Callbacks, stacked }
