# From stacks (perf script -F ip,sym,dso) to samples of each class: "class samples", and the innermost frames of what no
# rule is for as "? samples frame". `rules` is the file of classes, `origins` says what was inlined where (origins.awk).

BEGIN {
    while ((getline line < rules) > 0) {
        if (line ~ /^#/ || line !~ /[^ ]/) continue
        split(line, field, /[ \t]+/)
        count++
        domain[count] = field[1]; class[count] = field[2]
        sub(/^[^ \t]+[ \t]+[^ \t]+[ \t]+/, "", line)
        pattern[count] = line
    }
    if (!count) { print "no classes in " rules > "/dev/stderr"; exit 1 }
    while ((getline line < origins) > 0) {
        address = line
        sub(/ .*/, "", address)
        sub(/^[^ ]+ ?/, "", line)
        origin[address] = line
    }
}

# Frames from the innermost out: address, symbol, object in parentheses.
/^[ \t]+[0-9a-f]+ / {
    frame = $0
    address = $1
    sub(/^[ \t]+[0-9a-f]+ /, "", frame)
    in_kernel = frame ~ /\(\[(kernel|guest\.kernel|bpf|.*\.ko).*\)$/ || frame ~ /\(\[[a-z0-9_]+\]\)$/ && frame !~ /\(\[(vdso|vsyscall|heap|stack|unknown)\]\)$/
    depth++
    if (depth == 1) { innermost = frame; began_in_kernel = in_kernel }
    if (found) next
    # What the kernel does without a name of ours it does for itself, not for the caller of the system call.
    if (began_in_kernel && !in_kernel) { found = "kernel-other"; unknown[innermost]++; next }
    if (!in_kernel && address in origin) found = classify_inlined(origin[address])
    if (!found) found = classify(frame, in_kernel ? "kernel" : "user")
    next
}

/^$/ { finish() }

END {
    finish()
    for (each in samples) print each, samples[each]
    for (each in unknown) print "?", unknown[each], each
}

function finish() {
    if (!depth) return
    if (!found && began_in_kernel) { found = "kernel-other"; unknown[innermost]++ }
    if (!found) { found = "unclassified"; unknown[innermost]++ }
    samples[found]++
    depth = 0; found = ""
}

# What was inlined into a frame, innermost first.
function classify_inlined(list,    each, n, i, class_found) {
    n = split(list, each, " ")
    for (i = 1; i <= n && !class_found; i++) class_found = classify(each[i], "user")
    return class_found
}

# A symbol has the same class wherever it is met.
function classify(frame, where,    key, i) {
    key = where frame
    if (key in known) return known[key]
    known[key] = ""
    for (i = 1; i <= count; i++) {
        # Kernel symbols are matched whole, without their object.
        if (domain[i] == where && (where == "kernel" ? symbol_of(frame) : frame) ~ pattern[i]) {
            known[key] = class[i]
            break
        }
    }
    return known[key]
}

function symbol_of(frame) {
    sub(/ \([^()]*\)$/, "", frame)
    sub(/\+0x[0-9a-f]+$/, "", frame)
    return frame
}
