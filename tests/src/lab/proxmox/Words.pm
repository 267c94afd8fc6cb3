# How Proxmox VE words quantities: sizes, rates, times, and the command line of a run.
# A version is a number, such as 6.4; the years behind them are in the order of their releases.
package Words;
use strict;
use warnings;
use POSIX qw(strftime);

# Binary units, as progress, totals and rates are told since 6.2.
sub bytes {
    my ($value, $digits) = @_;
    my $unit = 0;
    if ($value > 1023) {
        $unit = int(log($value) / log(1024));
        $value /= 1024**$unit;
    }
    return sprintf('%.*f %s', $digits, $value, (qw(B KiB MiB GiB TiB PiB))[$unit]);
}

sub rate {
    my ($bytes, $seconds) = @_;
    return $bytes <= 0 ? '0 B/s' : bytes(int($bytes / $seconds), 1) . '/s';
}

# Decimal megabytes, as a total was told before 6.2.
sub megabytes { return int($_[0] / 1_000_000) }

# The size of an archive: binary, though its units are the decimal ones.
sub archive_size {
    my ($size) = @_;
    return int($size / 1024) . 'KB' if $size < 1024**2;
    return int($size / 1024**2) . 'MB' if $size < 1024**3;
    return sprintf('%.2fGB', $size / 1024**3) if $size < 1024**4;
    return sprintf('%.2fTB', $size / 1024**4);
}

# How long the copying goes on. Before 6.4 every part had two places.
sub duration {
    my ($seconds, $version) = @_;
    my ($h, $m, $s) = (int($seconds / 3600), int($seconds / 60) % 60, $seconds % 60);
    if ($version < 6.4) {
        return $h ? sprintf('%2dh %2dm %2ds', $h, $m, $s) : $m ? sprintf('%2dm %2ds', $m, $s)
            : sprintf('%2ds', $s);
    }
    my @parts = grep { $_ !~ /^0/ } "${h}h", "${m}m", "${s}s";
    return @parts ? join(' ', @parts) : '0s';
}

# How long a guest took.
sub took {
    my ($seconds) = @_;
    return sprintf('%02d:%02d:%02d', int($seconds / 3600), int($seconds / 60) % 60, $seconds % 60);
}

# The time before each line of a guest's log.
sub stamp {
    my ($time, $version) = @_;
    return strftime($version < 5 ? '%b %d %H:%M:%S' : '%F %H:%M:%S', localtime($time));
}

sub clock { return strftime('%F %H:%M:%S', localtime($_[0])) }

sub utc { return strftime('%FT%TZ', gmtime($_[0])) }

# The other way round of gmtime: how many seconds a date is from 1970.
sub timegm {
    my ($y, $mo, $d, $h, $mi, $s) = @_;
    ($y, $mo) = ($y - 1, $mo + 12) if $mo <= 2;
    my $days = 365 * $y + int($y / 4) - int($y / 100) + int($y / 400)
        + int((153 * ($mo - 3) + 2) / 5) + $d - 719469;
    return (($days * 24 + $h) * 60 + $mi) * 60 + $s;
}

# A word as a shell takes it. One with `=` would be an assignment.
sub quoted {
    my ($word) = @_;
    return "''" if $word eq '';
    return $word if $word !~ m{[^\w!%+,\-./:\@^]};
    $word =~ s/'/'\\''/g;
    return "'$word'";
}

# A command, or several joined by pipes, as an error names it. A word of the form `>path` says
# where the output goes.
sub command {
    my @parts = map {
        join(' ', map { /^>(.*)$/s ? '>' . quoted($1) : quoted($_) } @$_)
    } @_;
    return @parts == 1 ? $parts[0] : 'set -o pipefail && ' . join(' | ', @parts);
}

1;
